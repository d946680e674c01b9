/** The bytes of an SMTP session as a client has it: lines out, replies in, content out, TLS over them. */
import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { connect as secure } from 'node:tls';
import { LineEnds } from '../receive/line-ends.ts';
import { DotStuffer } from './dot-stuffing.ts';
import { ReplyReader } from './reply-reader.ts';

export class Wire {
  #socket: Socket;
  readonly #reader = new ReplyReader();
  #waiting: { readonly resolve: (reply: string) => void; readonly reject: (error: Error) => void } | undefined;
  #drained: (() => void) | undefined;
  #ended: Error | undefined;
  /** Outside of a transaction a server has nothing to say: what it says then (421) is the end of the session. */
  idle = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /** Why nothing can be said any more. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** Ends the session after this time (ms) without a byte in or out. */
  setTimeout(ms: number): void {
    this.#socket.setTimeout(ms);
  }

  /**
   * Commands, in one write. Whatever they are made of (addresses, host names), none of them ever becomes two.
   *
   * @throws {Error} when the server has said something already: it would pass for an answer to them
   */
  write(...commands: readonly string[]): void {
    if (this.hasMore) throw new Error('it said more than it was asked');
    if (commands.some((command) => /[\r\n\0]/.test(command))) throw new Error('a line end within a command');
    if (!this.#ended) this.#socket.write(`${commands.join('\r\n')}\r\n`);
  }

  /** The next reply, lines apart by LF. One caller at a time. Rejects once the session has ended. */
  reply(): Promise<string> {
    const reply = this.#reader.next();
    if (reply !== undefined) return Promise.resolve(reply);
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Whether the server has said something that nobody has read. */
  get hasMore(): boolean {
    return !this.#reader.isEmpty;
  }

  /**
   * A whole message with the dot that ends it, in one write.
   *
   * @returns false where the server spoke or went before: the message was not sent to its end, whatever it says
   */
  writeContent(content: Buffer): boolean {
    if (this.#ended || this.hasMore) return false;
    const out = new OutgoingContent();
    this.#socket.cork();
    this.#socket.write(out.push(content));
    this.#socket.write(out.end());
    this.#socket.uncork();
    return true;
  }

  /**
   * A message that is too large for memory, at the pace of the server. Without its final dot where the content throws.
   *
   * @returns as writeContent
   */
  async streamContent(content: AsyncIterable<Buffer>): Promise<boolean> {
    const out = new OutgoingContent();
    for await (const chunk of content) {
      if (this.#ended || this.hasMore) return false;
      if (this.#socket.write(out.push(chunk))) continue;
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    if (this.#ended || this.hasMore) return false;
    this.#socket.write(out.end());
    return true;
  }

  /** @param host name for SNI, and with `verify` what the certificate must be valid for. Rejects when it fails. @returns version of TLS */
  async startTls(host: string, verify: boolean): Promise<string> {
    // What came in clear behind the reply to STARTTLS would be taken for answers under TLS: anybody on the way can put
    // them there (CVE-2011-0411, and of clients "Why TLS Is Better Without STARTTLS", USENIX Security 2021).
    if (this.hasMore) throw new Error('it said more in clear after its reply to STARTTLS');
    const clear = this.#socket;
    clear.removeAllListeners('data');
    clear.removeAllListeners('end');
    clear.setTimeout(0);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const name = isIP(host) === 0 ? { servername: host } : {};
    this.#waiting = { resolve: () => reject(new Error('it speaks before TLS stands')), reject };
    const socket = secure({ socket: clear, host, ...name, rejectUnauthorized: verify }, resolve);
    this.#socket = socket;
    this.#listen(socket);
    await promise;
    this.#waiting = undefined;
    return socket.getProtocol() ?? 'unknown';
  }

  /** Says QUIT, and closes when it is answered or after this time (ms). */
  async quit(withinMs: number): Promise<void> {
    this.idle = false;
    this.write('QUIT');
    const timer = setTimeout(() => this.destroy('closed by us'), withinMs);
    await this.reply().catch(() => undefined);
    clearTimeout(timer);
    this.destroy('closed by us');
  }

  destroy(reason: string): void {
    this.#end(new Error(reason));
  }

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => this.#heard(chunk));
    socket.on('drain', () => this.#goOn());
    socket.on('timeout', () => this.destroy('no answer in time'));
    socket.on('error', (error) => this.#end(error));
    socket.on('end', () => this.destroy('connection closed'));
    socket.on('close', () => this.destroy('connection closed'));
  }

  #heard(chunk: Buffer): void {
    if (!this.#reader.push(chunk)) {
      this.destroy('its reply is too long');
      return;
    }
    if (this.idle) {
      this.destroy(`it said without being asked: ${this.#reader.next() ?? ''}`);
      return;
    }
    if (!this.#waiting) {
      // Content that waits for room is not to go on.
      this.#goOn();
      return;
    }
    const reply = this.#reader.next();
    if (reply === undefined) return;
    const { resolve } = this.#waiting;
    this.#waiting = undefined;
    resolve(reply);
  }

  #goOn(): void {
    this.#drained?.();
    this.#drained = undefined;
  }

  #end(reason: Error): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#socket.destroy();
    this.#waiting?.reject(reason);
    this.#waiting = undefined;
    this.#goOn();
  }
}

/** The bytes of a message on the wire: CRLF line ends only, dots stuffed, ended once (RFC 5321 2.3.8, 4.5.2). */
class OutgoingContent {
  // What is in the spool has none but CRLF. A bare one that came there all the same would be a line end to some servers,
  // and so perhaps the end of the message (SMTP smuggling): it never leaves here.
  readonly #ends = new LineEnds();
  readonly #dots = new DotStuffer();

  push(chunk: Buffer): Buffer {
    return this.#dots.push(this.#ends.push(chunk));
  }

  end(): Buffer {
    const rest = this.#dots.push(this.#ends.end());
    const end = this.#dots.end();
    return rest.length === 0 ? end : Buffer.concat([rest, end]);
  }
}
