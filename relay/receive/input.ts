/** What a client sends, cut into command lines and message content. */
import type { ContentSink } from './channel.ts';
import { DotUnstuffer } from './dot-stuffing.ts';

export type BadLine = 'command-too-long' | 'auth-too-long' | 'bare-line-end' | 'endless';

export interface InputHandler {
  /** A line without its CRLF. What follows waits for the promise, which never rejects. */
  line(line: Buffer): Promise<void> | undefined;
  /** Whether this line, whole or its start, belongs to AUTH. */
  isAuth(line: Buffer): boolean;
  badLine(kind: BadLine): void;
  /** All that came has been dealt with, and it ended between two commands. */
  rest(): void;
  /** Nothing is kept any more: the next chunk may come. */
  more(): void;
}

const CR = 0x0d;
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);
/** RFC 5321 4.5.3.1.4 asks for 512 octets, and more for extensions. With the CRLF. */
const LONGEST_COMMAND = 2_048;
/** RFC 4954 4. */
const LONGEST_AUTH = 12_288;
/** Of a line that is too long the rest is dropped, up to this. */
const LONGEST_SKIPPED = 1024 * 1024;
/** Pipelined commands that run before other sessions get their turn. */
const LINES_AT_ONCE = 100;

/** The message that is being read. */
interface Content {
  readonly sink: ContentSink;
  readonly dots: DotUnstuffer;
}

export class Input {
  readonly #handler: InputHandler;
  /** What came while a line or content was waited for. */
  #queue: Buffer[] = [];
  /** The start of a line whose end has not come. */
  #held: Buffer = NOTHING;
  /** Bytes dropped of a line that is not taken; undefined outside of one. */
  #skipped: number | undefined;
  /** What to say at its end; undefined when it was said. */
  #complaint: BadLine | undefined;
  #lastSkipped = 0;
  #content: Content | undefined;
  #lines = 0;
  #next = 0;
  #waiting = false;
  #closed = false;

  constructor(handler: InputHandler) {
    this.#handler = handler;
  }

  /** The client waits for us, not we for it. */
  get isBusy(): boolean {
    return this.#waiting;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get isInContent(): boolean {
    return this.#content !== undefined;
  }

  readContent(sink: ContentSink): void {
    this.#content = { sink, dots: new DotUnstuffer() };
  }

  /**
   * Takes the chunk over.
   *
   * @returns false where it is only kept for now: better no more of them, until the handler is told so
   */
  push(chunk: Buffer): boolean {
    if (this.#closed) return true;
    if (this.#waiting) {
      this.#queue.push(chunk);
      return false;
    }
    this.#lines = 0;
    this.#run(chunk, 0);
    return true;
  }

  /** Nothing more is read, not even what has come. */
  close(): void {
    this.#closed = true;
    this.#queue = [];
  }

  #run(first: Buffer, from: number): void {
    this.#next = from;
    for (let chunk: Buffer | undefined = first; chunk; chunk = this.#queue.shift(), this.#next = 0) {
      while (this.#next < chunk.length && !this.#closed) {
        const waiting = this.#content ? this.#readContent(chunk, this.#content) : this.#readLine(chunk);
        if (waiting === undefined) continue;
        this.#waiting = true;
        const rest = chunk;
        const at = this.#next;
        void waiting.then(() => {
          this.#waiting = false;
          this.#run(rest, at);
          if (!this.#waiting) this.#handler.more();
        });
        return;
      }
    }
    if (!this.#closed && this.#content === undefined) this.#handler.rest();
  }

  #readContent(chunk: Buffer, { sink, dots }: Content): Promise<void> | undefined {
    const content = dots.push(chunk, this.#next);
    const waiting = content.length > 0 ? sink.push(content) : undefined;
    if (dots.end < 0 || this.#closed) {
      this.#next = chunk.length;
      return waiting;
    }
    this.#next = dots.end;
    const end = () => {
      this.#content = undefined;
      return sink.end();
    };
    return waiting ? waiting.then(end) : end();
  }

  #readLine(chunk: Buffer): Promise<void> | undefined {
    const from = this.#next;
    const lf = chunk.indexOf(LF, from);
    const end = lf < 0 ? chunk.length : lf + 1;
    this.#next = end;
    if (this.#skipped !== undefined) return this.#skip(chunk, from, end);
    const part = chunk.subarray(from, end);
    const line = this.#held.length === 0 ? part : Buffer.concat([this.#held, part]);
    if (line.length > LONGEST_COMMAND) {
      const auth = this.#handler.isAuth(line);
      if (!auth || line.length > LONGEST_AUTH) {
        this.#complaint = auth ? 'auth-too-long' : 'command-too-long';
        return this.#skip(chunk, from, end);
      }
    }
    if (lf < 0) {
      this.#held = line;
      return undefined;
    }
    if (line[line.length - 2] !== CR) {
      // RFC 5321 2.3.8: no line end; told at once, since a client that means it as one waits for a reply.
      this.#handler.badLine('bare-line-end');
      return this.#skip(chunk, from, end);
    }
    this.#held = NOTHING;
    return this.#handler.line(line.subarray(0, -2)) ?? this.#yield();
  }

  /** Drops what belongs to a line that is not taken, up to the CRLF that ends it. */
  #skip(chunk: Buffer, from: number, end: number): undefined {
    const before =
      end - from > 1 ? chunk[end - 2] : this.#skipped === undefined ? this.#held.at(-1) : this.#lastSkipped;
    this.#skipped = (this.#skipped ?? 0) + end - from;
    this.#held = NOTHING;
    this.#lastSkipped = chunk[end - 1] ?? 0;
    if (this.#lastSkipped === LF && before === CR) {
      this.#skipped = undefined;
      if (this.#complaint) this.#handler.badLine(this.#complaint);
      this.#complaint = undefined;
    } else if (this.#skipped > LONGEST_SKIPPED) {
      this.#handler.badLine('endless');
    }
    return undefined;
  }

  #yield(): Promise<void> | undefined {
    this.#lines += 1;
    if (this.#lines % LINES_AT_ONCE !== 0) return undefined;
    return new Promise((resolve) => setImmediate(resolve));
  }
}
