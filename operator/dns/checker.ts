/**
 * Looks at DNS again and again for the domains that controllers ask about, and wakes them when an answer changes. What
 * it found is input of their plans; they never wait for DNS.
 *
 * A look that fails changes nothing: as long as DNS cannot be asked, what it last said counts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { givenServers, zoneServers } from './name-servers.ts';
import type { DnsRecord, WantedRecord } from './records.ts';
import { type Look, type Verify, verifying } from './verify.ts';

/** What is known of a record. */
export interface Seen {
  /** Absent: never known. */
  readonly state?: 'Published' | 'Missing' | 'Wrong';
  readonly observed?: string;
  /** Why the last look failed. */
  readonly problem?: string;
}

export interface CheckerOptions {
  readonly verify: Verify;
  /** Never decreases (ms). */
  readonly monotonicMs: () => number;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
  /** Domains that are looked at at the same time. */
  readonly concurrency?: number;
  /** Longest time of a look at a domain (ms). */
  readonly lookMs?: number;
}

/** While all is published (ms). */
const STEADY_MS = 30 * 60_000;
/** While something is not: the first wait, and the longest; each is twice the one before. */
const FIRST_MS = 1_000;
const LONGEST_MS = 5 * 60_000;
const LOOK_MS = 30_000;
/** Looks wait for sockets and name servers, not for the CPU. */
const CONCURRENCY = 16;

interface Entry {
  wanted: readonly WantedRecord[];
  seen: ReadonlyMap<string, Seen>;
  /** Looks in a row at which something was not published. */
  misses: number;
  /** When it is due; undefined while it is looked at. */
  dueMs: number | undefined;
}

/** What tells a record apart. */
export const recordId = ({ type, name, value }: DnsRecord): string => `${type} ${name} ${value}`;

export class DnsChecker {
  readonly #options: CheckerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners: ((id: string) => void)[] = [];
  #looking = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #stop = new AbortController();

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** Calls listener with the id of each whose answer changes. */
  watch(listener: (id: string) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * What is known of each record, by `recordId`; from now on these records are looked at, the first time at once. What
   * was asked for before under the id and is not any more is forgotten.
   */
  observe(id: string, wanted: readonly WantedRecord[]): ReadonlyMap<string, Seen> {
    if (wanted.length === 0) {
      this.#entries.delete(id);
      return new Map();
    }
    const entry = this.#entries.get(id);
    if (entry && isDeepStrictEqual(entry.wanted, wanted)) return entry.seen;
    const kept = wanted.flatMap((record) => {
      const seen = entry?.seen.get(recordId(record));
      return seen ? [[recordId(record), seen] as const] : [];
    });
    const next: Entry = { wanted, seen: new Map(kept), misses: 0, dueMs: this.#options.monotonicMs() };
    // A look under way is one at other records: it finds that its entry is no longer there.
    this.#entries.set(id, next);
    this.#dispatch();
    return next.seen;
  }

  stop(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  #dispatch(): void {
    if (this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    const nowMs = this.#options.monotonicMs();
    const waiting = [...this.#entries].flatMap(([id, entry]) =>
      entry.dueMs === undefined ? [] : [{ id, entry, dueMs: entry.dueMs }],
    );
    // Who waits longest comes first, so that those whose servers are slow hold up no other for ever.
    waiting.sort((a, b) => a.dueMs - b.dueMs);
    for (const { id, entry, dueMs } of waiting) {
      if (dueMs > nowMs) {
        this.#timer = setTimeout(() => this.#dispatch(), dueMs - nowMs);
        return;
      }
      // The end of a look dispatches again.
      if (this.#looking >= (this.#options.concurrency ?? CONCURRENCY)) return;
      entry.dueMs = undefined;
      this.#looking += 1;
      void this.#look(id, entry);
    }
  }

  async #look(id: string, entry: Entry): Promise<void> {
    const looks = await Promise.all(entry.wanted.map((wanted) => this.#lookAt(wanted)));
    this.#looking -= 1;
    if (!this.#stop.signal.aborted && this.#entries.get(id) === entry) this.#note(id, entry, looks);
    this.#dispatch();
  }

  async #lookAt(wanted: WantedRecord): Promise<Look> {
    const ended = new AbortController();
    const late = sleep(this.#options.lookMs ?? LOOK_MS, undefined, {
      signal: AbortSignal.any([ended.signal, this.#stop.signal]),
    }).then((): Look => ({ state: 'Unknown', observed: 'no answer in time' }));
    late.catch(() => {}); // it is ended by us
    try {
      return await Promise.race([this.#options.verify(wanted), late]);
    } catch (error) {
      return { state: 'Unknown', observed: error instanceof Error ? error.message : String(error) };
    } finally {
      ended.abort();
    }
  }

  #note(id: string, entry: Entry, looks: readonly Look[]): void {
    const seen = new Map(
      entry.wanted.map((wanted, index) => {
        const key = recordId(wanted);
        return [key, merged(entry.seen.get(key), looks[index])] as const;
      }),
    );
    const changed = !isDeepStrictEqual(seen, entry.seen);
    const settled = looks.every(({ state }, index) => state === 'Published' || isAdvice(entry.wanted[index]));
    const progress = [...seen].some(
      ([key, { state }]) => state === 'Published' && entry.seen.get(key)?.state !== 'Published',
    );
    entry.misses = settled || progress ? 0 : entry.misses + 1;
    entry.seen = seen;
    const waitMs = settled ? STEADY_MS : Math.min(FIRST_MS * 2 ** Math.min(entry.misses, 20), LONGEST_MS);
    // Spread, so that domains that were made together are not looked at together for ever.
    const jitter = 0.75 + 0.5 * (this.#options.random ?? Math.random)();
    entry.dueMs = this.#options.monotonicMs() + waitMs * jitter;
    if (changed) for (const listener of this.#listeners) listener(id);
  }
}

/** Records of the relays' host names: another's matter, and never waited for. */
const isAdvice = (wanted: WantedRecord | undefined): boolean =>
  wanted?.purpose === 'Host' || wanted?.purpose === 'HostSpf' || wanted?.purpose === 'Reverse';

function merged(before: Seen | undefined, look: Look | undefined): Seen {
  if (look && look.state !== 'Unknown') return look;
  const { problem: _, ...known } = before ?? {};
  return { ...known, problem: look?.observed ?? 'not looked at' };
}

/** @param resolvers whom to ask (IP or IP:PORT); none: the name servers of each zone */
export const dnsChecker = (resolvers: readonly string[]): DnsChecker =>
  new DnsChecker({
    verify: verifying(resolvers.length > 0 ? givenServers(resolvers) : zoneServers()),
    monotonicMs: () => performance.now(),
  });
