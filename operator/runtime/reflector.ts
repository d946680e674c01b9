/**
 * Keeps a copy of remote objects in memory, as they are now: lists them in pages, watches from there on, and goes on
 * from the last version it saw when a watch ends, breaks, or falls silent while it is open. It lists anew when that
 * version is too old to watch from, when watching keeps failing, and now and then, since a watch may lose an event.
 *
 * Until the first list is whole there is no copy, so that nothing that was not read yet looks deleted. What goes wrong
 * is told and tried again with backoff, without end: the last copy stays.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backoff, waitMs } from './backoff.ts';

export interface Item {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly resourceVersion: string };
}

export interface SourcePage<Of extends Item> {
  readonly items: readonly Of[];
  readonly resourceVersion: string;
  /** Of the next page. */
  readonly continue?: string;
}

export type SourceEvent<Of extends Item> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: Of }
  /** All that happened up to this version was told. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

export interface Source<Of extends Item> {
  list(limit: number, next: string | undefined): Promise<SourcePage<Of>>;
  watch(resourceVersion: string, timeoutSeconds: number, signal: AbortSignal): AsyncIterable<SourceEvent<Of>>;
  /** Whether an error says that the version is too old to go on from. */
  tooOld(error: unknown): boolean;
}

export interface ReflectorTimes {
  /** A watch ends by itself after this to twice this time (ms). */
  readonly watchMs: number;
  /** A watch that tells nothing for so long is given up (ms). An API server sends a bookmark a minute. */
  readonly silenceMs: number;
  /** All is listed anew after this time, give or take a tenth (ms). */
  readonly relistMs: number;
  readonly backoff: Backoff;
}

export const REFLECTOR_TIMES: ReflectorTimes = {
  watchMs: 5 * 60_000,
  silenceMs: 150_000,
  relistMs: 3_600_000,
  backoff: { firstMs: 200, lastMs: 30_000 },
};

/** Items of a page. */
const PAGE = 500;
/** Watches that fail in a row before all is listed anew: the version itself may be what is wrong. */
const FAILURES_TO_RELIST = 3;
/** A watch that ends sooner than this and told nothing has failed (ms). */
const SHORTEST_WATCH_MS = 1_000;
/** A watch that breaks after this, or after it told something, has worked (ms). */
const LONG_WATCH_MS = 10_000;
/** Objects that went lately, which the late answer to a write must not bring back. */
const GONE_KEPT = 1_000;

export interface ReflectorOptions<Of extends Item> {
  readonly source: Source<Of>;
  /** Called for each object that appears, changes or goes (undefined), with its last metadata; must not throw. */
  readonly changed: (metadata: Of['metadata'], now: Of | undefined) => void;
  /** Told of each failure, with the wait until the next try (ms). */
  readonly failed: (error: unknown, retryMs: number) => void;
  readonly times?: Partial<ReflectorTimes>;
}

const idOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;

export class Reflector<Of extends Item> {
  readonly #options: ReflectorOptions<Of>;
  readonly #times: ReflectorTimes;
  readonly #stop = new AbortController();
  readonly #firstList = Promise.withResolvers<void>();
  #items = new Map<string, Of>();
  /** Last versions of objects that went. */
  readonly #gone = new Map<string, string>();
  #synced = false;
  /** What the copy is as new as; undefined: list anew. */
  #version: string | undefined;
  /** Of the last list, or what was told since. */
  #latest: string | undefined;
  #relistAtMs = 0;
  /** In a row. */
  #failures = 0;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<Of>) {
    this.#options = options;
    this.#times = { ...REFLECTOR_TIMES, ...options.times };
    // Whoever waits for it is told; nobody need.
    this.#firstList.promise.catch(() => undefined);
  }

  /** Whether all was read once. */
  get synced(): boolean {
    return this.#synced;
  }

  get(key: { readonly namespace: string; readonly name: string }): Of | undefined {
    return this.#items.get(idOf(key));
  }

  list(): Iterable<Of> {
    return this.#items.values();
  }

  /**
   * Resolves once all was read, however long that takes.
   * @throws {Error} when it is stopped before: an empty copy must not be taken for an empty world
   */
  async start(): Promise<void> {
    this.#running ??= this.#run();
    await this.#firstList.promise;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#firstList.reject(new Error('stopped before all was read'));
    await this.#running;
  }

  /** Takes in the answer to a write of our own, so that what is decided next does not rest on what was before it. */
  wrote(item: Of): void {
    const gone = this.#gone.get(idOf(item.metadata));
    if (this.#synced && isNewer(item.metadata.resourceVersion, gone)) this.#put(item);
  }

  async #run(): Promise<void> {
    const { source, failed } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#version === undefined || performance.now() >= this.#relistAtMs) await this.#relist();
        if (this.#stop.signal.aborted) return;
        await this.#watch();
        this.#failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (source.tooOld(error) || (this.#failures + 1) % FAILURES_TO_RELIST === 0) this.#version = undefined;
        const retryMs = waitMs(this.#failures, error, this.#times.backoff);
        this.#failures += 1;
        failed(error, retryMs);
        await sleep(retryMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      }
    }
  }

  async #relist(): Promise<void> {
    const found = new Map<string, Of>();
    let next: string | undefined;
    let version: string;
    do {
      const page = await this.#options.source.list(PAGE, next);
      for (const item of page.items) found.set(idOf(item.metadata), item);
      next = page.continue;
      version = page.resourceVersion;
    } while (next !== undefined && !this.#stop.signal.aborted);
    if (this.#stop.signal.aborted) return;
    this.#relistAtMs = performance.now() + this.#times.relistMs * (0.9 + 0.2 * this.#random());
    this.#replace(found, version);
    this.#version = version;
    this.#synced = true;
    this.#firstList.resolve();
  }

  #replace(found: Map<string, Of>, version: string): void {
    const before = this.#items;
    // What we wrote after the list was made is told by the watch from there on. Where versions went back, as after the
    // restore of a backup, only the list counts.
    const restored = this.#latest !== undefined && isNewer(this.#latest, version);
    for (const [id, item] of restored ? [] : before) {
      if (isNewer(item.metadata.resourceVersion, found.get(id)?.metadata.resourceVersion ?? version)) {
        found.set(id, item);
      }
    }
    this.#latest = version;
    this.#items = found;
    for (const [id, { metadata }] of before) if (!found.has(id)) this.#options.changed(metadata, undefined);
    for (const [id, item] of found) {
      const known = before.get(id)?.metadata.resourceVersion;
      if (known !== item.metadata.resourceVersion) this.#options.changed(item.metadata, item);
    }
  }

  /** @throws what the source throws, or says that it told nothing */
  async #watch(): Promise<void> {
    const { watchMs, silenceMs } = this.#times;
    const relistInMs = this.#relistAtMs - performance.now();
    const timeoutMs = Math.min(watchMs * (1 + this.#random()), Math.max(relistInMs, SHORTEST_WATCH_MS));
    const beganMs = performance.now();
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stop.signal]);
    let told = false;
    let silent = false;
    const silence = setTimeout(() => {
      silent = true;
      over.abort();
    }, silenceMs);
    try {
      const events = this.#options.source.watch(this.#version ?? '', Math.ceil(timeoutMs / 1_000), signal);
      for await (const event of events) {
        if (this.#stop.signal.aborted) return;
        told = true;
        silence.refresh();
        this.#take(event);
      }
    } catch (error) {
      if (told || performance.now() - beganMs >= LONG_WATCH_MS) this.#failures = 0;
      if (!silent) throw error;
    } finally {
      clearTimeout(silence);
      over.abort();
    }
    if (silent) throw new SilentWatch(`a watch told nothing for ${Math.round(silenceMs / 1_000)} s`);
    if (!told && performance.now() - beganMs < SHORTEST_WATCH_MS) throw new Error('a watch ended at once');
  }

  #take(event: SourceEvent<Of>): void {
    const version = event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion;
    this.#version = version;
    this.#latest = version;
    if (event.type === 'ADDED' || event.type === 'MODIFIED') this.#put(event.object);
    if (event.type === 'DELETED') this.#drop(event.object);
  }

  #put(item: Of): void {
    const id = idOf(item.metadata);
    if (!isNewer(item.metadata.resourceVersion, this.#items.get(id)?.metadata.resourceVersion)) return;
    this.#items.set(id, item);
    this.#options.changed(item.metadata, item);
  }

  #drop({ metadata }: Of): void {
    const id = idOf(metadata);
    this.#gone.delete(id);
    this.#gone.set(id, metadata.resourceVersion);
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > GONE_KEPT && oldest !== undefined) this.#gone.delete(oldest);
    const known = this.#items.get(id);
    if (!known || isNewer(known.metadata.resourceVersion, metadata.resourceVersion)) return;
    this.#items.delete(id);
    this.#options.changed(metadata, undefined);
  }

  #random(): number {
    return (this.#times.backoff.random ?? Math.random)();
  }
}

class SilentWatch extends Error {
  override readonly name = 'SilentWatch';
}

/**
 * Whether a version comes after the one that is known. Versions are whole numbers that grow (Kubernetes API concepts,
 * "Resource versions"); where they are not, what is told last is believed.
 */
function isNewer(version: string, known: string | undefined): boolean {
  if (known === undefined) return true;
  const whole = [version, known].every((each) => /^[0-9]{1,20}$/.test(each));
  return whole ? BigInt(version) > BigInt(known) : version !== known;
}
