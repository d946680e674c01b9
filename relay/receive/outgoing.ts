/** Replies on their way to the client: those of one turn leave in one write (RFC 2920 3.2). */
import type { Socket } from 'node:net';

/** Unless they grow to more than this. */
const REPLIES_AT_ONCE = 16 * 1024;

export class Outgoing {
  #socket: Socket | undefined;
  #replies = '';
  /** What came is being dealt with: replies wait for its end. */
  #inTurn = false;
  /** Something was sent since the client last said something. */
  #said = false;
  #isUnread = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The client does not read what it is sent, as far as can be seen. */
  get isUnread(): boolean {
    return this.#isUnread;
  }

  /** undefined while the socket is not ours to write to: what is said then is lost. */
  use(socket: Socket | undefined): void {
    this.#socket = socket;
  }

  beginTurn(): void {
    this.#inTurn = true;
    this.#said = false;
  }

  endTurn(): void {
    this.#inTurn = false;
    this.flush();
  }

  reply(code: number, lines: readonly string[]): void {
    if (this.#replies === '' && !this.#inTurn) queueMicrotask(() => this.flush());
    lines.forEach((line, index) => {
      this.#replies += `${code}${index < lines.length - 1 ? '-' : ' '}${line}\r\n`;
    });
    if (this.#replies.length > REPLIES_AT_ONCE) this.flush();
  }

  flush(): void {
    const replies = this.#replies;
    if (replies === '') return;
    this.#replies = '';
    if (!this.#socket?.writable) return;
    // A second write would wait for the client's kernel to acknowledge the first (RFC 896), which it may delay.
    if (this.#said) this.#socket.setNoDelay(true);
    this.#said = true;
    this.#socket.write(replies);
  }

  /** A client that sends commands and does not read the replies has to wait. */
  drained(): Promise<void> | undefined {
    const socket = this.#socket;
    if (!socket?.writableNeedDrain) return undefined;
    this.#isUnread = true;
    return new Promise((resolve) => {
      const done = () => {
        this.#isUnread = false;
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.once('drain', done);
      socket.once('close', done);
    });
  }
}
