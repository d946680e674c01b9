/** The socket of one session: what comes goes to the input, replies go out, TLS begins, time runs out, and it ends. */
import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { Channel, ContentSink, Conversation } from './channel.ts';
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
/** How long a client may take to read the last reply and to end its side. */
const LINGER_MS = 10_000;

/** What a connection asks of the listener that took it. */
export interface Host {
  /** Of this moment: certificates are renewed. */
  readonly secureContext: SecureContext;
  readonly idleTimeoutMs: number;
  readonly sessionTimeoutMs: number | undefined;
  readonly isStopping: boolean;
  converse(channel: Channel): Conversation;
  /** The client and we did not agree on TLS. */
  noHandshake(problem: string): void;
  /** The connection is gone. */
  left(connection: Connection): void;
}

export class Connection implements Channel {
  readonly clientAddress: string;
  readonly #host: Host;
  readonly #conversation: Conversation;
  #socket: Socket;
  #input: Input;
  #replies = '';
  /** Replies leave when what has come is dealt with. */
  #reading = false;
  /** Something was sent since the client last said something. */
  #said = false;
  #handshaking = false;
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
    this.clientAddress = plainAddress(socket.remoteAddress ?? '');
    this.#conversation = host.converse(this);
    this.#input = this.#createInput();
    this.#lifetime = this.#afterSession(() => {
      this.#isExpired = true;
      this.leaveIfIdle();
      // A message that is being sent has as long again.
      this.#lifetime = this.#afterSession(() => this.cut());
    });
    this.#idle = setTimeout(() => this.#idled(), host.idleTimeoutMs).unref();
    this.#listen(socket);
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

  /** Begins the session. */
  begin(): void {
    this.#read();
    this.#conversation.greet();
  }

  /** Begins with the handshake. */
  beginTls(secured: () => void): void {
    this.#handshake(() => {
      secured();
      this.#conversation.greet();
    });
  }

  reply(code: number, ...lines: readonly string[]): void {
    if (this.#replies === '' && !this.#reading) queueMicrotask(() => this.#flush());
    lines.forEach((line, index) => {
      this.#replies += `${code}${index < lines.length - 1 ? '-' : ' '}${line}\r\n`;
    });
    if (this.#replies.length > REPLIES_AT_ONCE) this.#flush();
  }

  readContent(sink: ContentSink): void {
    this.#input.readContent(sink);
  }

  startTls(): void {
    this.#flush();
    // What came before the handshake may be anyone's (CVE-2011-0411): nothing of it reaches the new input.
    this.#input.close();
    this.#input = this.#createInput();
    this.#handshake(() => this.#conversation.secured());
  }

  /** Ends the session where it may not go on and nothing is in hand. */
  leaveIfIdle(): void {
    if (!this.#host.isStopping && !this.#isExpired) return;
    // There is no session yet that could be told.
    if (this.#handshaking) this.cut();
    else if (!this.#closing && !this.#input.isBusy && !this.#input.isInContent) this.#conversation.leave();
  }

  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#input.close();
    this.#flush();
    this.#socket.end();
    // Bytes that come are read and dropped: with some unread the kernel would reset the connection, last reply and all.
    this.#socket.resume();
    this.#linger = setTimeout(() => this.cut(), Math.min(LINGER_MS, this.#host.idleTimeoutMs)).unref();
  }

  quit(): void {
    this.#flush();
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

  /** Ends the connection at once, whatever is in hand. */
  cut(): void {
    // Always the outer one: TLS does not stand it when the socket below it goes first.
    this.#socket.destroy();
  }

  #createInput(): Input {
    return new Input({
      line: (line) => this.#conversation.command(line) ?? this.#drained(),
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

  #read(): void {
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('end', () => {
      // What is complete is still answered; a message that is not is the client's to send again (RFC 5321 3.8).
      this.#isHalfClosed = true;
      if (this.#input.isInContent) this.cut();
      else if (!this.#input.isBusy) this.quit();
    });
  }

  #take(chunk: Buffer): void {
    this.#idle?.refresh();
    this.#said = false;
    this.#reading = true;
    if (!this.#input.push(chunk)) this.#socket.pause();
    this.#reading = false;
    this.#flush();
  }

  #goOn(): void {
    if (this.#isHalfClosed) this.quit();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  #flush(): void {
    const replies = this.#replies;
    if (replies === '') return;
    this.#replies = '';
    // In a handshake the socket is not ours to write to.
    if (this.#handshaking || !this.#socket.writable) return;
    // A second write would wait for the client's kernel to acknowledge the first (RFC 896), which it may delay.
    if (this.#said) this.#socket.setNoDelay(true);
    this.#said = true;
    this.#socket.write(replies);
  }

  /** A client that sends commands and does not read the replies has to wait. */
  #drained(): Promise<void> | undefined {
    const socket = this.#socket;
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

  #handshake(done: () => void): void {
    this.#handshaking = true;
    const plain = this.#socket;
    plain.removeAllListeners('data');
    plain.removeAllListeners('end');
    plain.pause();
    // A handshake sends more than once without being answered between, and so does what follows it.
    plain.setNoDelay(true);
    const secure = new TLSSocket(plain, { isServer: true, secureContext: this.#host.secureContext });
    this.#socket = secure;
    this.#listen(secure);
    let problem = 'the client left';
    secure.once('_tlsError', (error: Error) => {
      problem = error.message;
      secure.destroy();
    });
    const failed = () => {
      if (this.#handshaking) this.#host.noHandshake(problem);
    };
    secure.prependOnceListener('close', failed);
    // Once: a client of TLS 1.2 may negotiate again, which begins no new session.
    secure.once('secure', () => {
      if (secure.destroyed) return;
      secure.off('close', failed);
      this.#handshaking = false;
      this.#tls = `${secure.getProtocol()} ${secure.getCipher().name}`;
      this.#idle?.refresh();
      this.#read();
      done();
    });
  }

  #afterSession(timeout: () => void): NodeJS.Timeout | undefined {
    const ms = this.#host.sessionTimeoutMs;
    return ms === undefined ? undefined : setTimeout(timeout, ms).unref();
  }

  /** Nothing came for idleTimeout. */
  #idled(): void {
    if (this.#handshaking) this.cut();
    else if (this.#input.isBusy) this.#idle?.refresh();
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
