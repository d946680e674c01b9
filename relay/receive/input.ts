/**
 * What a client sends, cut into command lines and message content. Takes the place of smtp-server's parser, which reads
 * commands as strings, takes a bare LF for a line end, and yields to the event loop at each dot of a message (2 MB/s).
 */
import { SMTPStream } from 'smtp-server/lib/smtp-stream.js';
import type { ContentSink } from './dialogue.ts';
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

export class Input extends SMTPStream {
  readonly #handler: InputHandler;
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

  constructor(handler: InputHandler) {
    super();
    this.#handler = handler;
  }

  /** The client waits for us, not we for it. */
  get isBusy(): boolean {
    return this.#waiting;
  }

  get isInContent(): boolean {
    return this.#content !== undefined;
  }

  readContent(sink: ContentSink): void {
    this.#content = { sink, dots: new DotUnstuffer() };
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding | 'buffer', next: (error?: Error | null) => void): void {
    this.#lines = 0;
    this.#run(chunk, 0, next);
  }

  #run(chunk: Buffer, from: number, next: () => void): void {
    this.#next = from;
    while (this.#next < chunk.length && !this.isClosed) {
      const waiting = this.#content ? this.#readContent(chunk, this.#content) : this.#readLine(chunk);
      if (waiting === undefined) continue;
      const at = this.#next;
      this.#waiting = true;
      void waiting.then(() => {
        this.#waiting = false;
        this.#run(chunk, at, next);
      });
      return;
    }
    if (!this.isClosed && this.#content === undefined) this.#handler.rest();
    next();
  }

  #readContent(chunk: Buffer, { sink, dots }: Content): Promise<void> | undefined {
    const content = dots.push(chunk, this.#next);
    const waiting = content.length > 0 ? sink.push(content) : undefined;
    if (dots.end < 0 || this.isClosed) {
      this.#next = chunk.length;
      return waiting;
    }
    this.#next = dots.end;
    this.#content = undefined;
    return waiting ? waiting.then(() => sink.end()) : sink.end();
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
