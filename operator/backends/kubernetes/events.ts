/**
 * Events (events.k8s.io/v1), for `kubectl describe` and `kubectl events`. The same one again within some minutes is
 * counted in its series instead of written anew. All is bounded: events wait in a line of fixed length, what an object
 * can cause in a short time is limited, and one that cannot be written is dropped, since nothing depends on it.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { API_VERSION } from '../../../crds/common.ts';
import type { Events, OperatorEvent } from '../../backend.ts';
import { waitMs } from '../../runtime/backoff.ts';
import type { ApiKind, ApiObject, KubernetesApi } from './api.ts';
import { NotFound, Throttled, Unavailable } from './api-error.ts';
import { microTime } from './leases.ts';

const EVENT: ApiKind = { group: 'events.k8s.io', version: 'v1', kind: 'Event', plural: 'events' };

/** An event that was told longer ago than this begins anew (ms). */
const SERIES_MS = 6 * 60_000;
/** Repetitions are counted for so long before they are written (ms). */
const GATHER_MS = 10_000;
const WAITING = 1_000;
const REMEMBERED = 4_096;
/** Events of one object: so many at once, then one each minute. */
const BURST = 25;
const REFILL_MS = 60_000;
const TRIES = 5;
const BACKOFF = { firstMs: 500, lastMs: 10_000 };
/** Limits of events.k8s.io/v1 (characters). */
const NOTE = 1_024;
const REASON = 128;

interface Series {
  readonly event: OperatorEvent;
  /** Of the Event. */
  readonly name: string;
  count: number;
  lastMs: number;
  /** Whether a write to come will tell of the last one. */
  waiting: boolean;
}

export interface EventsOptions {
  readonly api: Pick<KubernetesApi, 'create' | 'patch'>;
  /** uid of the object that an event is about; undefined: it is not known (any more). */
  readonly uidOf: (event: OperatorEvent) => string | undefined;
  /** Name of this process. */
  readonly instance: string;
  readonly dropped: (event: OperatorEvent, error: unknown) => void;
  readonly nowMs?: () => number;
  readonly gatherMs?: number;
}

export class ApiEvents implements Events {
  readonly #options: EventsOptions;
  readonly #nowMs: () => number;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, { tokens: number; atMs: number }>();
  readonly #line: (() => Promise<void>)[] = [];
  readonly #stop = new AbortController();
  #writing: Promise<void> | undefined;

  constructor(options: EventsOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  emit(event: OperatorEvent): void {
    if (this.#stop.signal.aborted || !this.#afford(event)) return;
    const { kind, key, type, reason, message } = event;
    const id = JSON.stringify([kind, key.namespace, key.name, type, reason, message]);
    const nowMs = this.#nowMs();
    const known = this.#series.get(id);
    if (known && nowMs - known.lastMs < SERIES_MS) this.#repeat(known, nowMs);
    else {
      const series = { event, name: nameFor(event), count: 1, lastMs: nowMs, waiting: true };
      remember(this.#series, id, series);
      this.#queue(event, async () => {
        await this.#create(series);
        series.waiting = false;
      });
    }
  }

  /** What waits is written, in the time that a stop leaves; then nothing more is. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#line.length = Math.min(this.#line.length, 20);
    await this.#writing;
  }

  #repeat(series: Series, nowMs: number): void {
    series.count += 1;
    series.lastMs = nowMs;
    if (series.waiting) return;
    series.waiting = true;
    const write = async (): Promise<void> => {
      series.waiting = false;
      await this.#count(series);
    };
    const timer = setTimeout(() => {
      if (!this.#stop.signal.aborted) this.#queue(series.event, write);
    }, this.#options.gatherMs ?? GATHER_MS);
    timer.unref();
  }

  #queue(event: OperatorEvent, write: () => Promise<void>): void {
    if (this.#line.length >= WAITING) {
      this.#options.dropped(event, new Error('too many events wait'));
      return;
    }
    this.#line.push(() => this.#persist(event, write));
    this.#writing ??= this.#work();
  }

  async #work(): Promise<void> {
    for (let write = this.#line.shift(); write; write = this.#line.shift()) await write();
    this.#writing = undefined;
  }

  async #persist(event: OperatorEvent, write: () => Promise<void>): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        await write();
        return;
      } catch (error) {
        const later = error instanceof Unavailable || error instanceof Throttled;
        if (!later || failures + 1 >= TRIES || this.#stop.signal.aborted) {
          this.#options.dropped(event, error);
          return;
        }
        await this.#pause(waitMs(failures, error, BACKOFF));
      }
    }
  }

  async #create(series: Series): Promise<void> {
    const { event, name, lastMs } = series;
    await this.#options.api.create(EVENT, this.#object(event, name, lastMs));
  }

  async #count({ event, name, count, lastMs }: Series): Promise<void> {
    const series = { count, lastObservedTime: microTime(lastMs) };
    try {
      await this.#options.api.patch(EVENT, { namespace: event.key.namespace, name }, { series });
    } catch (error) {
      // Events live an hour; this one did not live as long as its series.
      if (!(error instanceof NotFound)) throw error;
      await this.#options.api.create(EVENT, { ...this.#object(event, name, lastMs), series });
    }
  }

  #object(event: OperatorEvent, name: string, ms: number): ApiObject {
    const { kind, key, type, reason, message } = event;
    const uid = this.#options.uidOf(event);
    return {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { namespace: key.namespace, name },
      eventTime: microTime(ms),
      reportingController: 'chasqui.dev/operator',
      reportingInstance: this.#options.instance.slice(0, REASON),
      action: 'Reconcile',
      reason: reason.slice(0, REASON),
      regarding: { apiVersion: API_VERSION, kind, namespace: key.namespace, name: key.name, ...(uid && { uid }) },
      note: message.length > NOTE ? `${message.slice(0, NOTE - 3)}...` : message,
      type,
    };
  }

  /** Whether the object may cause one more event. */
  #afford({ kind, key }: OperatorEvent): boolean {
    const id = `${kind}/${key.namespace}/${key.name}`;
    const nowMs = this.#nowMs();
    const { tokens, atMs } = this.#budgets.get(id) ?? { tokens: BURST, atMs: nowMs };
    const left = Math.min(BURST, tokens + (nowMs - atMs) / REFILL_MS);
    remember(this.#budgets, id, { tokens: left < 1 ? left : left - 1, atMs: nowMs });
    return left >= 1;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stop.signal.aborted) return;
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}

const nameFor = ({ key }: OperatorEvent): string => `${key.name}.${randomBytes(8).toString('hex')}`;

/** The one that was remembered longest ago is forgotten. */
function remember<Value>(map: Map<string, Value>, id: string, value: Value): void {
  map.delete(id);
  map.set(id, value);
  const [oldest] = map.keys();
  if (map.size > REMEMBERED && oldest !== undefined) map.delete(oldest);
}
