/** Takes connections at one address, and knows those that are open. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { SettingsDocument } from '../config/documents.ts';
import type { ServerCertificates } from './certificates.ts';
import type { Channel, Conversation } from './channel.ts';
import { Connection, type Host } from './connection.ts';
import { networkOf } from './networks.ts';

export interface ListenerOptions {
  /** TLS from the first byte. */
  readonly implicitTls: boolean;
  /** Where it is missing, no handshake may be begun. */
  readonly certificates?: ServerCertificates;
  readonly limits: ListenerLimits;
  /** Networks of proxies, whose connections begin with a PROXY header. */
  readonly proxyNetworks?: readonly string[];
  readonly converse: (channel: Channel) => Conversation;
  /** Told of handshakes that fail: a client that does not trust the certificate, or a port scan. */
  readonly onProblem: (problem: string) => void;
}

export type ListenerLimits = Pick<SettingsDocument['limits'], 'idleTimeoutMs' | 'connections' | 'sessionTimeoutMs'>;

/** Connections over the limit that are told so; those beyond are closed without a word. */
const REFUSED_AT_ONCE = 100;

export class Listener implements Host {
  readonly converse: (channel: Channel) => Conversation;
  readonly #options: ListenerOptions;
  #server: Server;
  #retired = false;
  readonly #connections = new Set<Connection>();
  /** Those that are in a handshake, or whose proxy has not said whom they are of; the oldest first. */
  readonly #beginning = new Set<Connection>();
  #limits: ListenerLimits;
  #proxyNetworks: readonly string[];
  #certificates: ServerCertificates | undefined;
  #stopping = false;
  #empty = () => {};

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.converse = options.converse;
    this.#limits = options.limits;
    this.#proxyNetworks = options.proxyNetworks ?? [];
    this.#certificates = options.certificates;
    this.#server = this.#create();
    this.#bound();
  }

  get certificates(): ServerCertificates {
    if (!this.#certificates) throw new Error('no handshake can be begun without a certificate');
    return this.#certificates;
  }

  get idleTimeoutMs(): number {
    return this.#limits.idleTimeoutMs;
  }

  get sessionTimeoutMs(): number | undefined {
    return this.#limits.sessionTimeoutMs;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  /** No session is open. */
  get isEmpty(): boolean {
    return this.#connections.size === 0;
  }

  /** Resolves with the port when it listens. */
  async open(where: { readonly fd: number } | { readonly port: number; readonly host?: string }): Promise<number> {
    if (this.#retired) {
      this.#server = this.#create();
      this.#retired = false;
      this.#bound();
    }
    const listening = once(this.#server, 'listening');
    this.#server.listen(where);
    await listening;
    this.#server.on('error', (error) => this.#options.onProblem(error.message));
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  /** For sessions from now on. */
  configure(certificates: ServerCertificates, limits: ListenerLimits, proxyNetworks: readonly string[]): void {
    this.#limits = limits;
    this.#proxyNetworks = proxyNetworks;
    this.#bound();
    this.#certificates = certificates;
  }

  /** Takes no more connections until it is opened again; sessions go on. */
  retire(): void {
    this.#retired = true;
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

  left(connection: Connection): void {
    this.#connections.delete(connection);
    this.#beginning.delete(connection);
    if (this.#connections.size === 0) this.#empty();
  }

  #create(): Server {
    // Half open: a client may end its side behind its last command, and is still answered.
    return createServer({ allowHalfOpen: true }, (socket) => this.#connected(socket));
  }

  #bound(): void {
    const { connections } = this.#limits;
    // As many may be beginning as there may be sessions.
    this.#server.maxConnections =
      connections === undefined ? Number.POSITIVE_INFINITY : 2 * connections + REFUSED_AT_ONCE;
  }

  #connected(socket: Socket): void {
    const connection = new Connection(this, socket);
    this.#connections.add(connection);
    const { implicitTls } = this.#options;
    const proxied = networkOf(this.#proxyNetworks, connection.clientAddress) !== undefined;
    if (implicitTls || proxied) this.#makeRoom(connection);
    connection.begin({ implicitTls, proxied }, () => this.#beginning.delete(connection));
  }

  /**
   * Who is only beginning is counted by no policy yet. Beyond the limit the oldest has to go: it has had its time, and
   * whoever opens thousands and says nothing only pushes out its own.
   */
  #makeRoom(connection: Connection): void {
    const [oldest] = this.#beginning;
    if (oldest && this.#beginning.size >= (this.#limits.connections ?? Number.POSITIVE_INFINITY)) {
      this.#beginning.delete(oldest);
      oldest.cut();
    }
    this.#beginning.add(connection);
  }
}
