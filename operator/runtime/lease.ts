/**
 * Leader election by a Lease, as all Kubernetes controllers do it: who holds the Lease works, the others wait until it
 * was not renewed for its whole duration, by their own clocks.
 *
 * A holder is sure of its Lease only until `renewWithinMs` after it *sent* the last renewal that was confirmed. Others
 * take it at the earliest `durationMs` after they saw that renewal, which was later. A write that begins while the
 * holder is sure, and ends within the difference, is over before another begins. Monotonic and wall clock both count:
 * one goes on while a process is stopped, the other tells of a machine that slept.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** The part of a Lease (coordination.k8s.io/v1) that matters here. */
export interface LeaseRecord {
  /** Empty: given back. */
  readonly holder: string;
  readonly durationMs: number;
  /** Milliseconds since 1970. */
  readonly acquiredMs: number;
  readonly renewedMs: number;
  /** How often it changed hands. */
  readonly transitions: number;
}

export interface StoredLease extends LeaseRecord {
  readonly version: string;
}

export interface LeaseStore {
  read(): Promise<StoredLease | undefined>;
  /** Creates it, or replaces the given version. @throws when there is one, or it has another version */
  write(record: LeaseRecord, replaced: string | undefined): Promise<StoredLease>;
}

export interface LeaseTimes {
  readonly durationMs: number;
  readonly renewWithinMs: number;
  readonly everyMs: number;
}

/** The same as of the controllers of Kubernetes itself. */
export const LEASE_TIMES: LeaseTimes = { durationMs: 15_000, renewWithinMs: 10_000, everyMs: 2_000 };

/** How long a write may take, so that it is over before another may begin to write (ms). */
export const writeTimeoutMs = ({ durationMs, renewWithinMs }: LeaseTimes): number =>
  Math.floor((durationMs - renewWithinMs) * 0.8);

/** We do not hold the Lease, or are not sure that we still do: so we do not write. */
export class NotLeader extends Error {
  override readonly name = 'NotLeader';
}

export interface Clocks {
  readonly monotonicMs: () => number;
  readonly wallMs: () => number;
}

const CLOCKS: Clocks = { monotonicMs: () => performance.now(), wallMs: Date.now };

export interface ElectionOptions {
  readonly store: LeaseStore;
  /** Of this process and no other. */
  readonly identity: string;
  /** Told of each failure to read or write the Lease. */
  readonly failed: (error: unknown) => void;
  readonly times?: LeaseTimes;
  readonly clocks?: Clocks;
}

type Moment = { readonly monotonicMs: number; readonly wallMs: number };

export class Election {
  readonly #options: ElectionOptions;
  readonly #times: LeaseTimes;
  readonly #clocks: Clocks;
  readonly #stop = new AbortController();
  readonly #lost = Promise.withResolvers<void>();
  #held: StoredLease | undefined;
  /** When the last renewal that was confirmed was sent. */
  #sentAt: Moment = { monotonicMs: 0, wallMs: 0 };
  /** Another's Lease, and since when it is not renewed. */
  #seen: { readonly version: string; readonly atMs: number } | undefined;
  #renewing: Promise<void> = Promise.resolve();

  constructor(options: ElectionOptions) {
    this.#options = options;
    this.#times = options.times ?? LEASE_TIMES;
    this.#clocks = options.clocks ?? CLOCKS;
  }

  /** Whether we hold the Lease and are sure of it. */
  get leading(): boolean {
    return this.#held !== undefined && this.#sure();
  }

  /** Resolves when the Lease that we held is lost. */
  get lost(): Promise<void> {
    return this.#lost.promise;
  }

  /** @throws {NotLeader} unless we lead */
  mayWrite(): void {
    if (!this.leading) throw new NotLeader('this process does not hold the lease (any more), so it does not write');
  }

  /** The Lease itself is written to win it too, but never again by who was sure of it and is no more. */
  mayWriteLease(): void {
    if (this.#held) this.mayWrite();
  }

  /** Resolves once we lead; false: stopped before. From then on the Lease is renewed. */
  async campaign(): Promise<boolean> {
    while (!this.#stop.signal.aborted) {
      try {
        if (await this.#tryToWin()) {
          this.#renewing = this.#renew();
          return true;
        }
      } catch (error) {
        this.#options.failed(error);
      }
      await this.#pause();
    }
    return false;
  }

  /** Gives the Lease back, so that another need not wait for its end. */
  async release(): Promise<void> {
    this.#stop.abort();
    await this.#renewing;
    const held = this.#held;
    if (!held || !this.leading) return;
    const { version, ...record } = held;
    try {
      const given: LeaseRecord = { ...record, holder: '', durationMs: 1_000, renewedMs: this.#clocks.wallMs() };
      await this.#options.store.write(given, version);
    } catch (error) {
      this.#options.failed(error);
    }
    this.#held = undefined;
  }

  async #tryToWin(): Promise<boolean> {
    const there = await this.#options.store.read();
    if (there && !this.#isFree(there)) return false;
    const sentAt = this.#moment();
    const record: LeaseRecord = {
      holder: this.#options.identity,
      durationMs: this.#times.durationMs,
      acquiredMs: sentAt.wallMs,
      renewedMs: sentAt.wallMs,
      transitions: there ? there.transitions + 1 : 0,
    };
    const held = await this.#options.store.write(record, there?.version);
    this.#sentAt = sentAt;
    this.#held = held;
    return this.#sure();
  }

  /** By our own clock only: that of the holder may be wrong. */
  #isFree(lease: StoredLease): boolean {
    if (lease.holder === '') return true;
    const nowMs = this.#clocks.monotonicMs();
    if (this.#seen?.version !== lease.version) this.#seen = { version: lease.version, atMs: nowMs };
    return nowMs - this.#seen.atMs >= lease.durationMs;
  }

  async #renew(): Promise<void> {
    for (;;) {
      await this.#pause();
      if (this.#stop.signal.aborted) return;
      if (!this.#sure()) break;
      try {
        await this.#renewOnce();
      } catch (error) {
        this.#options.failed(error);
        if (await this.#isAnothers()) break;
      }
    }
    this.#held = undefined;
    this.#lost.resolve();
  }

  async #renewOnce(): Promise<void> {
    if (!this.#held) return;
    const { version, ...record } = this.#held;
    const sentAt = this.#moment();
    this.#held = await this.#options.store.write({ ...record, renewedMs: sentAt.wallMs }, version);
    this.#sentAt = sentAt;
  }

  /** A foreign hand may have written the Lease and left us its holder; then we go on from there. */
  async #isAnothers(): Promise<boolean> {
    try {
      const there = await this.#options.store.read();
      // Where it was deleted another makes it anew, and need not wait for us.
      if (there?.holder !== this.#options.identity) return true;
      if (this.#held) this.#held = { ...this.#held, version: there.version };
    } catch (error) {
      this.#options.failed(error);
    }
    return false;
  }

  #sure(): boolean {
    const now = this.#moment();
    const agoMs = Math.max(now.monotonicMs - this.#sentAt.monotonicMs, now.wallMs - this.#sentAt.wallMs);
    return agoMs < this.#times.renewWithinMs;
  }

  #moment(): Moment {
    return { monotonicMs: this.#clocks.monotonicMs(), wallMs: this.#clocks.wallMs() };
  }

  async #pause(): Promise<void> {
    const ms = this.#times.everyMs * (1 + 0.2 * Math.random());
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
