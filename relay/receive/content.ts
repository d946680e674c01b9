/**
 * Turns what a client sends after DATA into what is stored: line ends made CRLF, the header judged and completed
 * (RFC 6409 8), the body passed on as it came, and what signing needs to know computed on the way.
 */
import { BodyHash } from '../sign/body-hash.ts';
import { type HeaderField, parseHeader } from './header.ts';
import { LineEnds } from './line-ends.ts';
import { authorDomain, tooLarge } from './policies.ts';
import type { Rejection, Verdict } from './policy.ts';
import { formatDate, receivedField } from './received.ts';
import type { SessionFacts } from './session.ts';

export interface ContentOptions {
  readonly queueId: string;
  readonly session: SessionFacts;
  readonly hostname: string;
  readonly smtputf8: boolean;
  /** Most bytes that the client may send. */
  readonly maxBytes: number;
  readonly nowMs: number;
  readonly judgeHeader: (fields: readonly HeaderField[]) => Verdict;
  /** Takes stored content; a promise asks to wait. */
  readonly write: (chunk: Buffer) => Promise<void> | undefined;
}

/** More than any real header; held in memory until its blank line has come. */
const LARGEST_HEADER_BYTES = 256 * 1024;
const BLANK_LINE = Buffer.from('\r\n\r\n');
const CRLF = Buffer.from('\r\n');
/** Bcc tells recipients of each other (RFC 6409 8.8 lets us take it out); Return-Path is the last server's to write. */
const REMOVED = new Set(['bcc', 'resent-bcc', 'return-path']);
const HEADER_TOO_LARGE: Rejection = {
  code: 552,
  enhanced: '5.3.4',
  reason: 'header_too_large',
  text: `the header is larger than the ${LARGEST_HEADER_BYTES} bytes allowed`,
};

export class ContentReader {
  readonly #options: ContentOptions;
  readonly #lineEnds = new LineEnds();
  readonly #hash = new BodyHash();
  #header: Buffer | undefined = Buffer.alloc(0);
  #receivedBytes = 0;
  #verdict: Verdict;
  #eightBit = false;
  #sizeBytes = 0;
  #headerBytes = 0;
  #messageId: string | undefined;
  #signAs: string | undefined;
  #lastByte = 0x0a;

  constructor(options: ContentOptions) {
    this.#options = options;
  }

  /** Why the message is refused; once set, the rest is read and dropped. */
  get verdict(): Verdict {
    return this.#verdict;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Blank line included. */
  get headerBytes(): number {
    return this.#headerBytes;
  }

  /** Call it once, after end. */
  bodyHash(): string {
    return this.#hash.digest();
  }

  get messageId(): string | undefined {
    return this.#messageId;
  }

  get bodyType(): '7BIT' | '8BITMIME' {
    return this.#eightBit ? '8BITMIME' : '7BIT';
  }

  /** The domain to sign as, when the author's is one of ours that is signed. */
  get signAs(): string | undefined {
    return this.#signAs;
  }

  /** Takes bytes without dot-stuffing. */
  push(chunk: Buffer): Promise<void> | undefined {
    if (this.#verdict) return undefined;
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes > this.#options.maxBytes) {
      this.#verdict = tooLarge(this.#options.maxBytes);
      return undefined;
    }
    return this.#take(this.#lineEnds.push(chunk));
  }

  /** The message is complete. */
  end(): Promise<void> | undefined {
    if (this.#verdict) return undefined;
    let waiting = this.#take(this.#lineEnds.end());
    // No blank line came: all of it is header.
    if (this.#header !== undefined) {
      const block = this.#header;
      const whole = block.length === 0 || block.subarray(-2).equals(CRLF) ? block : Buffer.concat([block, CRLF]);
      waiting = this.#finishHeader(whole, Buffer.alloc(0)) ?? waiting;
    } else if (this.#lastByte !== 0x0a) {
      // DATA ends with CRLF.CRLF, so this is only for what arrives by other ways: the next hop needs the line end.
      waiting = this.#body(CRLF) ?? waiting;
    }
    return waiting;
  }

  #take(chunk: Buffer): Promise<void> | undefined {
    if (chunk.length === 0) return undefined;
    if (this.#header === undefined) return this.#body(chunk);
    // The blank line may start in the last bytes of what came before.
    const from = Math.max(0, this.#header.length - 3);
    const block = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    const startsBlank = block[0] === 0x0d && block[1] === 0x0a;
    const blank = startsBlank ? -2 : block.indexOf(BLANK_LINE, from);
    if (blank === -1) {
      if (block.length > LARGEST_HEADER_BYTES) this.#verdict = HEADER_TOO_LARGE;
      this.#header = block;
      return undefined;
    }
    const fields = block.subarray(0, blank + 2);
    if (fields.length > LARGEST_HEADER_BYTES) {
      this.#verdict = HEADER_TOO_LARGE;
      return undefined;
    }
    return this.#finishHeader(fields, block.subarray(blank + 4));
  }

  #finishHeader(block: Buffer, body: Buffer): Promise<void> | undefined {
    this.#header = undefined;
    const { session, judgeHeader } = this.#options;
    const fields = parseHeader(block);
    this.#verdict = judgeHeader(fields);
    if (this.#verdict) return undefined;
    const author = authorDomain(fields);
    this.#signAs = author !== undefined && session.config.domains.get(author)?.dkim.sign ? author : undefined;
    const header = Buffer.from(this.#complete(fields), 'latin1');
    this.#headerBytes = header.length;
    const waiting = this.#write(header);
    return body.length === 0 ? waiting : (this.#body(body) ?? waiting);
  }

  /** The header as it is stored: ours at the top, the rest as it came, in its order. */
  #complete(fields: readonly HeaderField[]): string {
    const { session, hostname, queueId, smtputf8, nowMs } = this.#options;
    const has = (name: string) => fields.some((field) => field.name === name);
    const given = fields.find((field) => field.name === 'message-id')?.value;
    this.#messageId = given ?? `<${queueId}.${nowMs.toString(36)}@${hostname}>`;
    return [
      receivedField(session, { hostname, queueId, smtputf8, nowMs }),
      has('date') ? '' : `Date: ${formatDate(nowMs)}\r\n`,
      given === undefined ? `Message-ID: ${this.#messageId}\r\n` : '',
      ...fields.filter(({ name }) => !REMOVED.has(name)).map(({ raw }) => raw),
      '\r\n',
    ].join('');
  }

  #body(chunk: Buffer): Promise<void> | undefined {
    this.#hash.update(chunk);
    this.#lastByte = chunk[chunk.length - 1] ?? this.#lastByte;
    return this.#write(chunk);
  }

  #write(chunk: Buffer): Promise<void> | undefined {
    this.#eightBit ||= hasHighByte(chunk);
    this.#sizeBytes += chunk.length;
    return this.#options.write(chunk);
  }
}

const hasHighByte = (chunk: Buffer): boolean => {
  for (const byte of chunk) if (byte > 127) return true;
  return false;
};
