/** Takes connections at one address, and knows those that are open. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { SettingsDocument } from '../config/documents.ts';
import type { ServerCertificates } from './certificates.ts';
import type { Channel, Conversation } from './channel.ts';
import { Connection, type Host } from './connection.ts';
import { networkOf } from './networks.ts';
import type { Where } from './sockets.ts';

/** What may change while it listens, for sessions from then on. */
export interface ListenerSettings {
  /** TLS from the first byte. */
  readonly implicitTls: boolean;
  /** Where it is missing, no handshake may be begun. */
  readonly certificates?: ServerCertificates;
  readonly limits: ListenerLimits;
  /** Networks of proxies, whose connections begin with a PROXY header. */
  readonly proxyNetworks?: readonly string[];
}

export interface ListenerOptions extends ListenerSettings {
  readonly converse: (channel: Channel) => Conversation;
  /** Told of handshakes that fail: a client that does not trust the certificate, or a port scan. */
  readonly onProblem: (problem: string) => void;
  /** Told of those that do not: TLS version. */
  readonly onSecured: (version: string) => void;
}

export type ListenerLimits = Pick<SettingsDocument['limits'], 'idleTimeoutMs' | 'connections' | 'sessionTimeoutMs'>;

/** Connections over the limit that are told so; those beyond are closed without a word. */
const REFUSED_AT_ONCE = 100;

export class Listener implements Host {
  readonly converse: (channel: Channel) => Conversation;
  readonly #options: ListenerOptions;
  // Half open: a client may end its side behind its last command, and is still answered.
  readonly #server = createServer({ allowHalfOpen: true }, (socket) => this.#connected(socket));
  readonly #connections = new Set<Connection>();
  /** Those that are in a handshake, or whose proxy has not said whom they are of; the oldest first. */
  readonly #beginning = new Set<Connection>();
  #settings: ListenerSettings;
  #stopping = false;
  #empty = () => {};

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.converse = options.converse;
    this.#settings = options;
    this.#bound();
  }

  get settings(): ListenerSettings {
    return this.#settings;
  }

  get certificates(): ServerCertificates {
    const { certificates } = this.#settings;
    if (!certificates) throw new Error('no handshake can be begun without a certificate');
    return certificates;
  }

  get idleTimeoutMs(): number {
    return this.#settings.limits.idleTimeoutMs;
  }

  get sessionTimeoutMs(): number | undefined {
    return this.#settings.limits.sessionTimeoutMs;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  /** No session is open. */
  get isEmpty(): boolean {
    return this.#connections.size === 0;
  }

  /** Resolves with the port when it listens. */
  async open(where: Where): Promise<number> {
    const listening = once(this.#server, 'listening');
    this.#server.listen(where);
    await listening;
    this.#server.on('error', (error) => this.#options.onProblem(error.message));
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  configure(settings: ListenerSettings): void {
    this.#settings = settings;
    this.#bound();
  }

  /** Takes no more connections; sessions go on. */
  retire(): void {
    this.#server.close();
  }

  /** Takes no more connections, ends sessions as they become idle; resolves when none is left. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#server.close();
    this.leave();
    if (this.#connections.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#empty = resolve;
    });
  }

  /** Ends sessions that are idle and may not go on. */
  leave(): void {
    for (const connection of this.#connections) connection.leaveIfIdle();
  }

  /** Cuts what is left. */
  cut(): void {
    for (const connection of this.#connections) connection.cut();
  }

  noSession(problem: string): void {
    this.#options.onProblem(problem);
  }

  secured(version: string): void {
    this.#options.onSecured(version);
  }

  left(connection: Connection): void {
    this.#connections.delete(connection);
    this.#beginning.delete(connection);
    if (this.#connections.size === 0) this.#empty();
  }

  #bound(): void {
    const { connections } = this.#settings.limits;
    // As many may be beginning as there may be sessions.
    this.#server.maxConnections =
      connections === undefined ? Number.POSITIVE_INFINITY : 2 * connections + REFUSED_AT_ONCE;
  }

  #connected(socket: Socket): void {
    const connection = new Connection(this, socket);
    this.#connections.add(connection);
    const { implicitTls, proxyNetworks = [] } = this.#settings;
    const proxied = networkOf(proxyNetworks, connection.clientAddress) !== undefined;
    if (implicitTls || proxied) this.#makeRoom(connection);
    connection.begin({ implicitTls, proxied }, () => this.#beginning.delete(connection));
  }

  /**
   * Who is only beginning is counted by no policy yet. Beyond the limit the oldest has to go: it has had its time, and
   * whoever opens thousands and says nothing only pushes out its own.
   */
  #makeRoom(connection: Connection): void {
    const [oldest] = this.#beginning;
    if (oldest && this.#beginning.size >= (this.#settings.limits.connections ?? Number.POSITIVE_INFINITY)) {
      this.#beginning.delete(oldest);
      oldest.cut();
    }
    this.#beginning.add(connection);
  }
}
