/** The bytes of an SMTP session as a client has it: lines out, replies in, content out, TLS over them. */
import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { connect as secure } from 'node:tls';
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

  /** Lines with their CRLF. */
  write(text: string): void {
    if (!this.#ended) this.#socket.write(text);
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

  /** A whole message with the dot that ends it, in one write. */
  writeContent(content: Buffer): void {
    if (this.#ended) return;
    const dots = new DotStuffer();
    this.#socket.cork();
    this.#socket.write(dots.push(content));
    this.#socket.write(dots.end());
    this.#socket.uncork();
  }

  /**
   * A message that is too large for memory, at the pace of the server. Where the session ends meanwhile, the next reply
   * tells. Without its final dot where the content throws.
   */
  async streamContent(content: AsyncIterable<Buffer>): Promise<void> {
    const dots = new DotStuffer();
    for await (const chunk of content) {
      if (this.#ended) return;
      if (this.#socket.write(dots.push(chunk))) continue;
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    if (!this.#ended) this.#socket.write(dots.end());
  }

  /** @param host name for SNI, and with `verify` what the certificate must be valid for. Rejects when it fails. */
  async startTls(host: string, verify: boolean): Promise<void> {
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
  }

  /** Says QUIT, and closes when it is answered or after this time (ms). */
  quit(withinMs: number): void {
    this.setTimeout(withinMs);
    this.idle = false;
    this.write('QUIT\r\n');
    const close = (): void => this.destroy('closed by us');
    this.reply().then(close, close);
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
    if (!this.#waiting) return;
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
