/**
 * Connections kept for the next message. How many are open to a destination at once is decided by the scheduler, which
 * runs no more attempts than that; an idle connection is one that an attempt just gave back.
 */
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { Observer } from '../observe/events.ts';
import { HostFailure } from './classify.ts';
import { type Connection, type ConnectOptions, connect } from './connection.ts';
import { readCredentials } from './credentials.ts';
import type { Target } from './tcp.ts';
import type { Timeouts } from './timeouts.ts';
import { type TlsMode, tlsPlans } from './tls-policy.ts';

export interface PoolLimits {
  /** An idle connection is closed after this time, ms. */
  readonly idleMs: number;
  /** Messages over one connection; servers are wary of more. */
  readonly transactions: number;
  /** Idle connections of all hosts; the oldest is closed for a new one. */
  readonly idle: number;
}

// As many idle as there are attempts at a time: where most mail goes to one host, attempts end and begin in bursts.
export const POOL_LIMITS: PoolLimits = { idleMs: 5_000, transactions: 100, idle: 500 };

export interface TakeOptions {
  /** No idle one. */
  readonly fresh?: boolean;
  readonly bound?: Bound | undefined;
  /** Folder of the credentials that the host asks for. */
  readonly credentials?: string | undefined;
}

export interface Pooled {
  readonly connection: Connection;
  /** It has carried messages before, and may have been closed by the server meanwhile. */
  readonly reused: boolean;
}

/** A host that could not be reached is asked last for this time, ms, so that mail does not wait for it each time. */
const DOWN_MS = 60_000;
const DOWN_HOSTS = 1_000;

/** A bound on connections to hosts of one kind, in use or idle. */
export interface Bound {
  readonly connections: number;
  /** Messages over one of them. */
  readonly messagesPerConnection: number | undefined;
}

interface Use {
  readonly key: string;
  readonly bound: Bound | undefined;
}

interface Idle extends Use {
  readonly timer: NodeJS.Timeout;
}

export class Pool {
  readonly #timeouts: Timeouts;
  readonly #told: Observer['host'];
  readonly #limits: PoolLimits;
  /** In the order in which they became idle. */
  readonly #idle = new Map<Connection, Idle>();
  readonly #byKey = new Map<string, Connection[]>();
  readonly #busy = new Map<Connection, Use>();
  /** Connections that are being opened. */
  readonly #opening = new WeakMap<Bound, number>();
  readonly #down = new LRUCache<string, true>({ max: DOWN_HOSTS, ttl: DOWN_MS });
  readonly #ended = new AbortController();

  constructor(timeouts: Timeouts, told: Observer['host'] = () => undefined, limits: PoolLimits = POOL_LIMITS) {
    this.#timeouts = timeouts;
    this.#told = told;
    this.#limits = limits;
    setMaxListeners(0, this.#ended.signal);
  }

  /**
   * An idle connection, or a new one, secured as the mode says.
   *
   * @param hostname what we say in EHLO
   * @throws {HostFailure}
   */
  async take(target: Target, mode: TlsMode, hostname: string, options: TakeOptions = {}): Promise<Pooled> {
    const { fresh = false, bound, credentials } = options;
    // All that a session was set up with: a change in config is followed by new connections.
    const key = `${target.host} ${target.address} ${target.port} ${mode} ${hostname} ${credentials ?? ''}`;
    const idle = fresh ? undefined : this.#takeIdle(key);
    const connection = idle ?? (await this.#open(target, mode, hostname, options));
    this.#busy.set(connection, { key, bound });
    return { connection, reused: idle !== undefined };
  }

  /** Gives a connection back after its last transaction. */
  give(connection: Connection): void {
    const use = this.#busy.get(connection);
    this.#busy.delete(connection);
    if (use === undefined || !connection.usable) return;
    const { key, bound } = use;
    if (this.#ended.signal.aborted || this.isUsedUp(connection, bound)) {
      void connection.quit();
      return;
    }
    this.#idle.set(connection, { ...use, timer: setTimeout(() => this.#expire(connection), this.#limits.idleMs) });
    const siblings = this.#byKey.get(key);
    if (siblings) siblings.push(connection);
    else this.#byKey.set(key, [connection]);
    if (this.#idle.size <= this.#limits.idle) return;
    const [oldest] = this.#idle.keys();
    if (oldest) this.#expire(oldest);
  }

  /** It has carried as many messages as it may. */
  isUsedUp({ transactions }: Connection, bound?: Bound): boolean {
    return transactions >= (bound?.messagesPerConnection ?? this.#limits.transactions);
  }

  /** No session could be had with it a short while ago, nor since. */
  isDown(target: Target): boolean {
    return this.#down.has(addressOf(target));
  }

  /** Ends idle connections in order, cuts those in use, and opens no more. */
  cut(): void {
    this.#ended.abort();
    for (const connection of [...this.#idle.keys()]) this.#expire(connection);
    for (const connection of this.#busy.keys()) connection.destroy();
  }

  async #connect(target: Target, mode: TlsMode, options: Omit<ConnectOptions, 'tls'>): Promise<Connection> {
    try {
      const connection = await connectInTurn(target, mode, options);
      this.#down.delete(addressOf(target));
      this.#told({ event: 'connected', ...(connection.tls !== undefined && { tls: connection.tls }) });
      return connection;
    } catch (error) {
      if (error instanceof HostFailure) {
        this.#down.set(addressOf(target), true);
        this.#told({ event: 'unreached', stage: error.stage });
      }
      throw error;
    }
  }

  /** The one that was used last: those before it are the first to be closed when less is to do. */
  #takeIdle(key: string): Connection | undefined {
    for (let last = this.#byKey.get(key)?.at(-1); last; last = this.#byKey.get(key)?.at(-1)) {
      this.#forget(last);
      if (last.usable) return last;
    }
    return undefined;
  }

  #expire(connection: Connection): void {
    this.#forget(connection);
    void connection.quit();
  }

  async #open(target: Target, mode: TlsMode, hostname: string, { bound, credentials }: TakeOptions) {
    const session = {
      ...{ hostname, timeouts: this.#timeouts, signal: this.#ended.signal },
      ...(credentials !== undefined && { credentials: () => readCredentials(credentials) }),
    };
    if (!bound) return this.#connect(target, mode, session);
    this.#opening.set(bound, (this.#opening.get(bound) ?? 0) + 1);
    try {
      await this.#makeRoom(bound);
      return await this.#connect(target, mode, session);
    } finally {
      this.#opening.set(bound, (this.#opening.get(bound) ?? 1) - 1);
    }
  }

  /** Idle ones of the same bound go, the oldest first, until there is room for what is opened. */
  async #makeRoom(bound: Bound): Promise<void> {
    const busy = this.#busy.values().reduce((count, use) => count + (use.bound === bound ? 1 : 0), 0);
    const inUse = busy + (this.#opening.get(bound) ?? 0);
    const idle = [...this.#idle].flatMap(([connection, use]) => (use.bound === bound ? [connection] : []));
    const tooMany = idle.slice(0, Math.max(0, inUse + idle.length - bound.connections));
    await Promise.all(
      tooMany.map((connection) => {
        this.#forget(connection);
        return connection.quit();
      }),
    );
  }

  #forget(connection: Connection): void {
    const idle = this.#idle.get(connection);
    if (!idle) return;
    clearTimeout(idle.timer);
    this.#idle.delete(connection);
    const siblings = this.#byKey.get(idle.key) ?? [];
    siblings.splice(siblings.lastIndexOf(connection), 1);
    if (siblings.length === 0) this.#byKey.delete(idle.key);
  }
}

const addressOf = ({ address, port }: Target): string => `${address} ${port}`;

/** Tries the plans of the mode, each on a connection of its own; the next one only where TLS was what failed. */
async function connectInTurn(target: Target, mode: TlsMode, options: Omit<ConnectOptions, 'tls'>): Promise<Connection> {
  const [first, ...rest] = tlsPlans(mode);
  let attempt = connect(target, { ...options, tls: first });
  for (const tls of rest) {
    attempt = attempt.catch((error: unknown) => {
      if (error instanceof HostFailure && error.stage === 'tls') return connect(target, { ...options, tls });
      throw error;
    });
  }
  return attempt;
}
