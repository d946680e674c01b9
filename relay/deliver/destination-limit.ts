/**
 * What servers are asked at most, by one replica: connections at a time, and messages by the minute. Mail for one who may
 * be asked nothing now waits in its queue; as room comes, as many queues are told as there is room for.
 */
import type { DestinationSettings } from '../config/documents.ts';

/** A queue that waits; told once, and asked again by whoever finds no room then. */
export type Waiter = () => void;

/** The right to one connection, and to the messages over it. */
export interface Lease {
  readonly limit: DestinationLimit;
  /** Said for each message that is begun. */
  sent(): void;
  /** The connection is no longer used. */
  leave(): void;
}

/** Where messages follow each other faster than timers come, one that is late makes up for so much (ms). */
const CATCH_UP_MS = 100;
/** Whoever was told of room may have had no use for it; the next one is told then. */
const TELL_AGAIN_MS = 1_000;
/** Destinations remembered. */
const LATER = 10_000;

export class DestinationLimit {
  /** Deliveries that wait for it in memory. */
  waiting = 0;
  readonly #now: () => number;
  #settings: DestinationSettings;
  #connections = Number.POSITIVE_INFINITY;
  /** Between two messages, ms. */
  #intervalMs = 0;
  #used = 0;
  /** When the next message may be begun. */
  #nextMs: number;
  readonly #waiters = new Set<Waiter>();
  readonly #later = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** @param now milliseconds by a clock that nobody sets */
  constructor(settings: DestinationSettings, replicas: number, now: () => number) {
    this.#now = now;
    this.#nextMs = now();
    this.#settings = settings;
    this.configure(settings, replicas);
  }

  /** What is limited for the relay is shared out: messages exactly, connections one each at least. */
  configure(settings: DestinationSettings, replicas: number): void {
    const { maxConnections, messagesPerMinute } = settings;
    const among = Math.max(1, replicas);
    this.#settings = settings;
    this.#connections =
      maxConnections === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(maxConnections / among));
    this.#intervalMs = messagesPerMinute === undefined ? 0 : (60_000 * among) / messagesPerMinute;
    this.#tell();
  }

  get name(): string {
    return this.#settings.name;
  }

  /** At a time, of this replica; Infinity where nothing is said. */
  get connections(): number {
    return this.#connections;
  }

  get messagesPerConnection(): number | undefined {
    return this.#settings.messagesPerConnection;
  }

  get hasRoom(): boolean {
    return this.#room() > 0;
  }

  /** undefined when there is no room now. */
  enter(): Lease | undefined {
    if (!this.hasRoom) return undefined;
    this.#used += 1;
    this.#begin();
    let sent = 0;
    let left = false;
    return {
      limit: this,
      // The first message was paid for on entering.
      sent: () => {
        if (sent > 0) this.#begin();
        sent += 1;
      },
      leave: () => {
        if (left) return;
        left = true;
        this.#used -= 1;
        if (sent === 0) this.#nextMs -= this.#intervalMs;
        this.#tell();
      },
    };
  }

  /** Called once there may be room. */
  wait(waiter: Waiter): void {
    this.#waiters.add(waiter);
    this.#arm();
  }

  /**
   * Destinations whose mail is left in the spool for now, since enough of others waits in memory for the same servers.
   *
   * @returns false when there are too many to be remembered
   */
  leaveForLater(destination: string): boolean {
    if (this.#later.size < LATER) this.#later.add(destination);
    return this.#later.has(destination);
  }

  takeLater(count: number): readonly string[] {
    const some = [...this.#later.keys().take(count)];
    for (const destination of some) this.#later.delete(destination);
    return some;
  }

  /** It is a limit no more: whoever waits goes on. */
  close(): void {
    this.#connections = Number.POSITIVE_INFINITY;
    this.#intervalMs = 0;
    this.#tell();
  }

  get #catchUpMs(): number {
    return this.#intervalMs < CATCH_UP_MS ? CATCH_UP_MS : 0;
  }

  #begin(): void {
    this.#nextMs = Math.max(this.#nextMs, this.#now() - this.#catchUpMs) + this.#intervalMs;
  }

  /** Of connections that may be begun now. */
  #room(): number {
    const free = this.#connections - this.#used;
    if (this.#intervalMs === 0) return free;
    const lateMs = this.#now() - this.#nextMs;
    return lateMs < 0 ? 0 : Math.min(free, 1 + Math.floor(Math.min(this.#catchUpMs, lateMs) / this.#intervalMs));
  }

  #tell(): void {
    let room = this.#room();
    for (const waiter of this.#waiters) {
      if (room <= 0) break;
      room -= 1;
      this.#waiters.delete(waiter);
      waiter();
    }
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#waiters.size === 0) return;
    const inMs = Math.min(TELL_AGAIN_MS, Math.max(1, this.#nextMs - this.#now()));
    this.#timer = setTimeout(() => this.#tell(), inMs);
    this.#timer.unref();
  }
}
