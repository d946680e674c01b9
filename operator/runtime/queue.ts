/**
 * A queue of keys to work on. A key that is added again while it waits is worked on once; a key that is added while it
 * is worked on is worked on once more after. Two workers never hold the same key.
 */
import { waitMs } from './backoff.ts';

/** First wait after a failure; doubles with each further one, up to the last. Milliseconds. */
const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 60_000;
/** Longest timer (ms): Node takes at most 2^31-1, and timers stand still while a machine sleeps. */
const LONGEST_TIMER_MS = 12 * 3_600_000;

/**
 * Soon: somebody waits for it. Behind: only what is told of the key may change, and all that is added as Soon goes first,
 * so that one edit does not wait until a thousand others were looked at.
 */
export type Urgency = 'Soon' | 'Behind';

/** Told of what a queue does, for metrics. */
export interface QueueMeter {
  added(key: string): void;
  /** It waited, and need not be worked on now. */
  removed(key: string): void;
  /** @param waitedMs since it was added */
  began(key: string, waitedMs: number): void;
  /** @param outcome Again: it asked to be worked on once more, later */
  ended(key: string, tookMs: number, outcome: 'Done' | 'Again' | 'Failed'): void;
}

export interface QueueOptions {
  /** Works on a key; resolves to the milliseconds after which to do so again, if at all. */
  readonly work: (key: string) => Promise<number | undefined>;
  /** Told of each failure, with the wait until the next try (ms). */
  readonly failed: (key: string, error: unknown, retryMs: number) => void;
  /** Keys that are worked on at the same time. */
  readonly workers: number;
  readonly meter?: QueueMeter;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

export class KeyedQueue {
  readonly #options: QueueOptions;
  /** Since when. */
  readonly #waiting: Readonly<Record<Urgency, Map<string, number>>> = { Soon: new Map(), Behind: new Map() };
  readonly #working = new Map<string, Promise<void>>();
  readonly #delayed = new Map<string, { readonly timer: NodeJS.Timeout; readonly dueMs: number }>();
  readonly #failures = new Map<string, number>();
  #state: 'New' | 'Started' | 'Stopped' = 'New';

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Begins to work. Keys that were added before have waited. */
  start(): void {
    if (this.#state !== 'New') return;
    this.#state = 'Started';
    this.#dispatch();
  }

  /** Takes no more keys; resolves when none is worked on. */
  async stop(): Promise<void> {
    this.#state = 'Stopped';
    for (const keys of Object.values(this.#waiting)) keys.clear();
    for (const { timer } of this.#delayed.values()) clearTimeout(timer);
    this.#delayed.clear();
    await Promise.all(this.#working.values());
  }

  /**
   * Works on the key soon. One that failed is not tried at once, since it may be its own failed work that caused the
   * change: what changed brings its retry forward to the first wait, no further.
   */
  add(key: string, urgency: Urgency = 'Soon'): void {
    if (this.#failures.has(key) && !this.#working.has(key)) this.#addAfter(key, FIRST_RETRY_MS, 'IfEarlier');
    else this.#addNow(key, urgency);
  }

  #addNow(key: string, urgency: Urgency): void {
    if (this.#state === 'Stopped') return;
    clearTimeout(this.#delayed.get(key)?.timer);
    this.#delayed.delete(key);
    const { Soon, Behind } = this.#waiting;
    const sinceMs = Soon.get(key) ?? Behind.get(key);
    if (sinceMs === undefined) this.#options.meter?.added(key);
    if (urgency === 'Soon') Behind.delete(key);
    if (sinceMs === undefined || (urgency === 'Soon' && !Soon.has(key))) {
      this.#waiting[urgency].set(key, sinceMs ?? performance.now());
    }
    this.#dispatch();
  }

  #isWaiting(key: string): boolean {
    return this.#waiting.Soon.has(key) || this.#waiting.Behind.has(key);
  }

  #addAfter(key: string, ms: number, mode: 'Replace' | 'IfEarlier'): void {
    if (this.#state === 'Stopped' || this.#isWaiting(key)) return;
    const dueMs = performance.now() + ms;
    const known = this.#delayed.get(key);
    if (mode === 'IfEarlier' && known && known.dueMs <= dueMs) return;
    clearTimeout(known?.timer);
    const timer = setTimeout(() => this.#addNow(key, 'Soon'), Math.min(ms, LONGEST_TIMER_MS));
    this.#delayed.set(key, { timer, dueMs });
  }

  #dispatch(): void {
    if (this.#state !== 'Started') return;
    for (const keys of [this.#waiting.Soon, this.#waiting.Behind]) this.#dispatchOf(keys);
  }

  #dispatchOf(waiting: Map<string, number>): void {
    for (const [key, sinceMs] of waiting) {
      if (this.#working.size >= this.#options.workers) return;
      if (this.#working.has(key)) continue;
      waiting.delete(key);
      this.#options.meter?.began(key, performance.now() - sinceMs);
      this.#working.set(key, this.#work(key));
    }
  }

  async #work(key: string): Promise<void> {
    const beganMs = performance.now();
    let outcome: 'Done' | 'Again' | 'Failed' = 'Failed';
    try {
      const againMs = await this.#options.work(key);
      outcome = againMs === undefined ? 'Done' : 'Again';
      this.#failures.delete(key);
      if (againMs !== undefined) this.#addAfter(key, againMs, 'Replace');
    } catch (error) {
      const failures = this.#failures.get(key) ?? 0;
      this.#failures.set(key, failures + 1);
      const retryMs = this.#retryMs(failures, error);
      if (this.#waiting.Soon.delete(key) || this.#waiting.Behind.delete(key)) this.#options.meter?.removed(key);
      this.#addAfter(key, retryMs, 'Replace');
      this.#options.failed(key, error, retryMs);
    } finally {
      this.#options.meter?.ended(key, performance.now() - beganMs, outcome);
      this.#working.delete(key);
      // Work that finds all as it should be waits for nothing: a thousand keys of it in one turn of the event loop would
      // keep it from the answers of the API server, and from the lease.
      setImmediate(() => this.#dispatch());
    }
  }

  #retryMs(failures: number, error: unknown): number {
    const { random } = this.#options;
    return waitMs(failures, error, { firstMs: FIRST_RETRY_MS, lastMs: LAST_RETRY_MS, ...(random && { random }) });
  }
}
