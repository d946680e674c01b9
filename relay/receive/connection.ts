/** The socket of one session: what comes goes to the input, replies go out, TLS begins, time runs out, and it ends. */
import type { Socket } from 'node:net';
import type { ServerCertificates } from './certificates.ts';
import type { Channel, ContentSink, Conversation } from './channel.ts';
import { beginHandshake } from './handshake.ts';
import { type BadLine, Input } from './input.ts';
import { plainAddress } from './networks.ts';
import { Outgoing } from './outgoing.ts';
import { Patience } from './patience.ts';
import type { Rejection } from './policy.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import { AUTH_TOO_LONG, BARE_LINE_END, COMMAND_TOO_LONG, TOO_MANY_ERRORS } from './replies.ts';

const BAD_LINES: Readonly<Record<BadLine, Rejection>> = {
  'command-too-long': COMMAND_TOO_LONG,
  'auth-too-long': AUTH_TOO_LONG,
  'bare-line-end': BARE_LINE_END,
  endless: TOO_MANY_ERRORS,
};

/** What happens without a person: proxies write their header at once, handshakes take some round trips. */
const HEADER_MS = 10_000;
const HANDSHAKE_MS = 60_000;
/** How long a client may take to read the last reply and to end its side. */
const LINGER_MS = 10_000;

/** What a connection asks of the listener that took it. */
export interface Host {
  /** Of this moment: certificates are renewed. */
  readonly certificates: ServerCertificates;
  readonly idleTimeoutMs: number;
  readonly sessionTimeoutMs: number | undefined;
  readonly isStopping: boolean;
  converse(channel: Channel): Conversation;
  /** It did not come to a session: no TLS, or no header of a proxy. */
  noSession(problem: string): void;
  /** A handshake is over, in this version of TLS. */
  secured(version: string): void;
  /** The connection is gone. */
  left(connection: Connection): void;
}

export class Connection implements Channel {
  readonly #host: Host;
  readonly #beganMs = performance.now();
  readonly #patience: Patience;
  readonly #outgoing: Outgoing;
  #clientAddress: string;
  #isClientKnown = true;
  readonly #conversation: Conversation;
  #socket: Socket;
  #input: Input;
  /** Nobody talks yet, or for now. */
  #phase: 'header' | 'handshake' | 'session' = 'session';
  #tls: string | undefined;
  /** The client sends nothing more. */
  #isHalfClosed = false;
  #closing = false;
  #closed = false;
  #isExpired = false;
  #idle: NodeJS.Timeout | undefined;
  #lifetime: NodeJS.Timeout | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(host: Host, socket: Socket) {
    this.#host = host;
    this.#socket = socket;
    this.#outgoing = new Outgoing(socket);
    this.#clientAddress = plainAddress(socket.remoteAddress ?? '');
    this.#patience = new Patience(host.idleTimeoutMs, this.#beganMs);
    this.#conversation = host.converse(this);
    this.#input = this.#createInput();
    this.#lifetime = this.#afterSession(() => {
      this.#isExpired = true;
      this.leaveIfIdle();
      // A message that is being sent has as long again.
      this.#lifetime = this.#afterSession(() => this.cut());
    });
    this.#listen(socket);
  }

  get clientAddress(): string {
    return this.#clientAddress;
  }

  get isClientKnown(): boolean {
    return this.#isClientKnown;
  }

  get secure(): boolean {
    return this.#tls !== undefined;
  }

  get tls(): string | undefined {
    return this.#tls;
  }

  get isExpired(): boolean {
    return this.#isExpired;
  }

  get ageMs(): number {
    return performance.now() - this.#beganMs;
  }

  get waitedMs(): number {
    return this.#input.isBusy && !this.#outgoing.isUnread ? 0 : this.#patience.waitedMs(performance.now());
  }

  /**
   * Begins with the header of a proxy, where it comes from one, and TLS where the listener has it from the first byte.
   *
   * @param greeted called when the session begins
   */
  begin(how: { readonly proxied: boolean; readonly implicitTls: boolean }, greeted: () => void): void {
    const greet = () => {
      greeted();
      this.#conversation.greet();
    };
    const start = () => {
      if (how.implicitTls) {
        this.#handshake(greet);
      } else {
        this.#talk();
        greet();
      }
    };
    if (!how.proxied) {
      start();
      return;
    }
    this.#enter('header', HEADER_MS);
    readProxyHeader(this.#socket, (header) => {
      if (header === undefined) {
        this.#host.noSession(`${this.#clientAddress} sent no PROXY header that can be read`);
        this.cut();
        return;
      }
      // proxy-protocol.txt 2.1, 2.2: otherwise those of the connection count.
      if (typeof header.client === 'object') this.#clientAddress = header.client.address;
      this.#isClientKnown = header.client !== 'unknown';
      start();
    });
  }

  reply(code: number, ...lines: readonly string[]): void {
    this.#outgoing.reply(code, lines);
  }

  readContent(sink: ContentSink): void {
    this.#input.readContent(sink);
  }

  startTls(): void {
    this.#outgoing.flush();
    // What came before the handshake may be anyone's (CVE-2011-0411): nothing of it reaches the new input.
    this.#input.close();
    this.#input = this.#createInput();
    this.#handshake(() => this.#conversation.secured());
  }

  /** Ends the session where it may not go on and nothing is in hand. */
  leaveIfIdle(): void {
    if (!this.#host.isStopping && !this.#isExpired) return;
    // There is no session yet that could be told.
    if (this.#phase !== 'session') this.cut();
    else if (!this.#closing && !this.#input.isBusy && !this.#input.isInContent) this.#conversation.leave();
  }

  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#input.close();
    this.#outgoing.flush();
    this.#socket.end();
    // Bytes that come are read and dropped: with some unread the kernel would reset the connection, last reply and all.
    this.#socket.resume();
    this.#linger = setTimeout(() => this.cut(), Math.min(LINGER_MS, this.#host.idleTimeoutMs)).unref();
  }

  quit(): void {
    this.#outgoing.flush();
    // With the reply in the kernel's hands there is nothing to wait for; TLS says its own good bye (RFC 8446 6.1).
    if (this.secure || this.#socket.writableLength > 0) {
      this.close();
      return;
    }
    this.#closing = true;
    // What the client sent behind it is not for us to do.
    this.#input.close();
    this.#socket.destroy();
  }

  cut(): void {
    this.#outgoing.flush();
    // Always the outer one: TLS does not stand it when the socket below it goes first.
    this.#socket.destroy();
  }

  #createInput(): Input {
    return new Input({
      line: (line) => {
        this.#patience.renew(performance.now());
        return this.#conversation.command(line) ?? this.#outgoing.drained();
      },
      isAuth: (line) => this.#conversation.inAuth || /^auth /i.test(line.toString('latin1', 0, 5)),
      badLine: (kind) => this.#conversation.badLine(BAD_LINES[kind]),
      rest: () => this.leaveIfIdle(),
      more: () => this.#goOn(),
    });
  }

  #listen(socket: Socket): void {
    // A client that goes away is no error of ours; what is in hand ends with the close that follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#ended());
  }

  /** From now on so much time is left. */
  #enter(phase: 'header' | 'handshake' | 'session', ms?: number): void {
    this.#phase = phase;
    this.#patience.renew(performance.now(), ms);
    this.#watch();
  }

  #watch(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#idled(), Math.max(1, this.#patience.leftMs(performance.now()))).unref();
  }

  #talk(): void {
    this.#enter('session');
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    // A proxy's header has stopped the flow.
    this.#socket.resume();
    this.#socket.on('end', () => {
      this.#isHalfClosed = true;
      if (!this.#input.isBusy) this.#endOfInput();
    });
  }

  #take(chunk: Buffer): void {
    if (this.#input.isInContent) this.#patience.prolong(chunk.length, performance.now());
    this.#outgoing.beginTurn();
    if (!this.#input.push(chunk)) this.#socket.pause();
    this.#outgoing.endTurn();
  }

  #goOn(): void {
    this.#patience.renew(performance.now());
    if (this.#isHalfClosed) this.#endOfInput();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /**
   * All that the client sent has been dealt with. What is complete was answered; a message without its final dot is the
   * client's to send again (RFC 5321 3.8). While the input is busy the dot may be in what waits.
   */
  #endOfInput(): void {
    if (this.#input.isInContent) this.cut();
    else this.quit();
  }

  #handshake(done: () => void): void {
    this.#enter('handshake', HANDSHAKE_MS);
    this.#outgoing.use(undefined);
    this.#socket = beginHandshake(
      this.#socket,
      this.#host.certificates,
      (tls) => {
        this.#tls = tls;
        this.#host.secured(tls.slice(0, tls.indexOf(' ')));
        this.#outgoing.use(this.#socket);
        this.#talk();
        done();
      },
      (problem) => this.#host.noSession(problem),
    );
    this.#listen(this.#socket);
  }

  #afterSession(timeout: () => void): NodeJS.Timeout | undefined {
    const ms = this.#host.sessionTimeoutMs;
    return ms === undefined ? undefined : setTimeout(timeout, ms).unref();
  }

  /** The patience was over when it was last looked at. */
  #idled(): void {
    if (this.#input.isBusy && !this.#outgoing.isUnread) this.#patience.renew(performance.now());
    // One that has not begun cannot be told, and one that does not read would not hear it.
    if (this.#patience.leftMs(performance.now()) > 0) this.#watch();
    else if (this.#phase !== 'session' || this.#outgoing.isUnread) this.cut();
    else if (!this.#closing) this.#conversation.idle();
  }

  #ended(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closing = true;
    this.#input.close();
    clearTimeout(this.#idle);
    clearTimeout(this.#lifetime);
    clearTimeout(this.#linger);
    this.#conversation.closed();
    this.#host.left(this);
  }
}
