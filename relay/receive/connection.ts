/**
 * Bends smtp-server to what a relay needs. Only this file and input.ts know its inside; it is pinned to one version for
 * that reason.
 *
 * Taken from it: accepting sockets, TLS from the first byte and by STARTTLS with the traps of both, and the end of
 * connections. In place of its dialogue stands ours: its replies carry other codes, sometimes two, it offers AUTH in
 * clear, waits 100 ms before it greets, writes each reply by itself, and knows joke commands.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { SMTPServer } from 'smtp-server';
import { SMTPConnection, type SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection.js';
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js';
import type { SettingsDocument } from '../config/documents.ts';
import type { Channel, ContentSink, Dialogue } from './dialogue.ts';
import { type BadLine, Input } from './input.ts';
import { plainAddress } from './networks.ts';
import type { Rejection } from './policy.ts';
import { AUTH_TOO_LONG, BARE_LINE_END, COMMAND_TOO_LONG, TOO_MANY_ERRORS } from './replies.ts';

const BAD_LINES: Readonly<Record<BadLine, Rejection>> = {
  'command-too-long': COMMAND_TOO_LONG,
  'auth-too-long': AUTH_TOO_LONG,
  'bare-line-end': BARE_LINE_END,
  endless: TOO_MANY_ERRORS,
};

/** Replies of pipelined commands leave together (RFC 2920 3.2), unless they grow to more than this. */
const REPLIES_AT_ONCE = 16 * 1024;

class RelayConnection extends SMTPConnection implements Channel {
  readonly clientAddress: string;
  readonly #relayServer: RelayServer;
  readonly #dialogue: Dialogue;
  #replies = '';
  #lifetime: NodeJS.Timeout | undefined;
  #isExpired = false;

  constructor(server: RelayServer, socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null) {
    super(server, socket, options);
    this.#relayServer = server;
    this.clientAddress = plainAddress(socket.remoteAddress ?? '');
    this.#dialogue = server.createDialogue(this);
  }

  get tls(): string | undefined {
    if (!this.secure || !(this._socket instanceof TLSSocket)) return undefined;
    return `${this._socket.getProtocol()} ${this._socket.getCipher().name}`;
  }

  get isExpired(): boolean {
    return this.#isExpired;
  }

  override init(): void {
    this.#lifetime = this.#after(() => {
      this.#isExpired = true;
      this.leaveIfIdle();
      // A message that is being sent has as long again.
      this.#lifetime = this.#after(() => this._socket.destroy());
    });
    this._setListeners(() => this.#dialogue.greet());
  }

  // Runs in the constructor of the superclass, too: no field of this class is set by then.
  override _createParser(): SMTPStream {
    return new Input({
      line: (line) => this.#dialogue.command(line) ?? this.#drained(),
      isAuth: (line) => this.#dialogue.inAuth || /^auth /i.test(line.toString('latin1', 0, 5)),
      badLine: (kind) => this.#dialogue.badLine(BAD_LINES[kind]),
      rest: () => this.leaveIfIdle(),
    });
  }

  #after(sessionTimeout: () => void): NodeJS.Timeout | undefined {
    const ms = this.#relayServer.sessionTimeoutMs;
    return ms === undefined ? undefined : setTimeout(sessionTimeout, ms).unref();
  }

  get #input(): Input | undefined {
    return this._parser instanceof Input ? this._parser : undefined;
  }

  reply(code: number, ...lines: readonly string[]): void {
    if (this.#replies === '') queueMicrotask(() => this.#flush());
    lines.forEach((line, index) => {
      this.#replies += `${code}${index < lines.length - 1 ? '-' : ' '}${line}\r\n`;
    });
    if (this.#replies.length > REPLIES_AT_ONCE) this.#flush();
  }

  #flush(): void {
    const replies = this.#replies;
    this.#replies = '';
    // In a handshake the socket is not ours to write to.
    if (replies !== '' && !this._upgrading && this._socket.writable) this._socket.write(replies);
  }

  /** A client that sends commands and does not read the replies has to wait. */
  #drained(): Promise<void> | undefined {
    const socket = this._socket;
    if (!socket.writableNeedDrain) return undefined;
    return new Promise((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.once('drain', done);
      socket.once('close', done);
    });
  }

  readContent(sink: ContentSink): void {
    this.#input?.readContent(sink);
  }

  startTls(): void {
    this.#flush();
    this.upgrade(
      () => {},
      () => this.#dialogue.secured(),
    );
  }

  /** Ends the session where it may not go on and nothing is in hand. */
  leaveIfIdle(): void {
    const input = this.#input;
    if (!this.#relayServer.isStopping && !this.#isExpired) return;
    if (this._closing || input?.isBusy || input?.isInContent) return;
    this.#dialogue.leave();
  }

  override close(): void {
    this.#flush();
    super.close();
  }

  quit(): void {
    this.#flush();
    // With the reply in the kernel's hands there is nothing to wait for; TLS says its own good bye (RFC 8446 6.1).
    if (this.secure || this._socket.writableLength > 0) {
      super.close();
      return;
    }
    // What the client sent behind it is not for us to do.
    if (this.#input) this.#input.isClosed = true;
    this._closing = true;
    this._socket.destroy();
  }

  override _onClose(): void {
    super._onClose();
    clearTimeout(this.#lifetime);
    this.#dialogue.closed();
    this.#relayServer.left(this);
  }

  override _onTimeout(): void {
    if (this._closing) this._socket.destroy();
    else if (this.#input?.isBusy) this._armTimeout();
    else this.#dialogue.idle();
  }

  // A client that goes away is no error of ours; what is in hand ends with the close that follows.
  override _onError(): void {
    this.close();
  }
}

export interface RelayServerOptions {
  /** TLS from the first byte. */
  readonly implicitTls: boolean;
  readonly tls: TlsSettings;
  readonly limits: ServerLimits;
  readonly createDialogue: (channel: Channel) => Dialogue;
}

export type ServerLimits = Pick<SettingsDocument['limits'], 'idleTimeoutMs' | 'connections' | 'sessionTimeoutMs'>;

/** Connections over the limit that are told so; those beyond are closed without a word. */
const REFUSED_AT_ONCE = 100;

/** PEM. */
export interface TlsSettings {
  readonly cert: string;
  readonly key: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export class RelayServer extends SMTPServer {
  readonly createDialogue: (channel: Channel) => Dialogue;
  readonly #sessions = new Set<RelayConnection>();
  #stopping = false;
  #empty = () => {};
  sessionTimeoutMs: number | undefined;

  constructor({ implicitTls, tls, limits, createDialogue }: RelayServerOptions) {
    // Without a name it asks the system for one at each connection; ours is said by the dialogue.
    super({ ...tls, name: 'relay', secure: implicitTls, logger: false, disableReverseLookup: true });
    this.createDialogue = createDialogue;
    this.#limit(limits);
  }

  #limit({ idleTimeoutMs, connections, sessionTimeoutMs }: ServerLimits): void {
    this.options.socketTimeout = idleTimeoutMs;
    this.sessionTimeoutMs = sessionTimeoutMs;
    // Handshakes come before the dialogue, which counts sessions: they are bounded here.
    this.options.maxClients = connections;
    this.server.maxConnections = connections === undefined ? Number.POSITIVE_INFINITY : connections + REFUSED_AT_ONCE;
  }

  get isStopping(): boolean {
    return this.#stopping;
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    const connection = new RelayConnection(this, socket, options);
    this.connections.add(connection);
    this.#sessions.add(connection);
    connection.init();
  }

  // There is nothing to ask of a new TLS session; smtp-server's own waits a turn of the event loop.
  override onSecure(_socket: Socket, _session: unknown, callback: () => void): void {
    callback();
  }

  left(connection: RelayConnection): void {
    this.#sessions.delete(connection);
    if (this.#sessions.size === 0) this.#empty();
  }

  /** Resolves when it listens. */
  async open(where: { readonly fd: number } | { readonly port: number; readonly host?: string }): Promise<void> {
    const listening = once(this.server, 'listening');
    this.listen(where);
    await listening;
  }

  /** For sessions from now on. */
  configure(tls: TlsSettings, limits: ServerLimits): void {
    this.#limit(limits);
    const { cert, key, minVersion } = this.options;
    if (cert !== tls.cert || key !== tls.key || minVersion !== tls.minVersion) this.updateSecureContext({ ...tls });
  }

  /** Takes no more connections, ends sessions as they become idle; resolves when none is left. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.server.close();
    // Handshakes have no session yet that could end by itself.
    for (const socket of this._pendingSockets.values()) socket.destroy();
    for (const session of this.#sessions) session.leaveIfIdle();
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#empty = resolve;
    });
  }

  /** Cuts what is left. */
  cut(): void {
    for (const session of this.#sessions) session._socket.destroy();
  }
}
