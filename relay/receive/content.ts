/**
 * Turns what a client sends after DATA into what is stored: line ends made CRLF and long lines broken, the header judged and completed
 * (RFC 6409 8), the body passed on as it came, and what signing needs to know computed on the way.
 */
import { isAscii } from 'node:buffer';
import { BodyHash } from '../sign/body-hash.ts';
import { type HeaderField, parseHeader } from './header.ts';
import { LineEnds } from './line-ends.ts';
import { LongLines } from './long-lines.ts';
import { originatorsOf } from './originators.ts';
import { HEADER, signingDomain, tooLarge } from './policies.ts';
import { judge, type Rejection, reject, type Verdict } from './policy.ts';
import { formatDate, receivedField } from './received.ts';
import type { SessionFacts } from './session.ts';

export interface ContentOptions {
  readonly queueId: string;
  readonly session: SessionFacts;
  readonly smtputf8: boolean;
  readonly nowMs: number;
  /** Takes stored content; a promise asks to wait. */
  write(chunk: Buffer): Promise<void> | undefined;
}

/** What is known of a message once all of it has been read. */
export interface ContentFacts {
  readonly sizeBytes: number;
  /** Blank line included. */
  readonly headerBytes: number;
  readonly bodyType: '7BIT' | '8BITMIME';
  readonly messageId?: string;
  /** Both, or neither. */
  readonly signAs?: string;
  readonly bodyHash?: string;
}

/** More than any real header; held in memory until its blank line has come. */
const LARGEST_HEADER_BYTES = 256 * 1024;
/** RFC 5322 2.1.1: longest line. A longer Message-ID is none, and not worth to be kept in the envelope. */
const LONGEST_MESSAGE_ID = 998;
const BLANK_LINE = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);
/** Bcc tells recipients of each other (RFC 5322 3.6.3); Return-Path is the last server's to write (RFC 5321 4.4). */
const REMOVED = new Set(['bcc', 'resent-bcc', 'return-path']);
const HEADER_TOO_LARGE = reject(
  552,
  '5.3.4',
  'header_too_large',
  `the header is larger than the ${LARGEST_HEADER_BYTES} bytes allowed`,
);
/**
 * Mail holds no NUL (RFC 5321 4.5.2 with RFC 2045 2.7 and 2.8; only BINARYMIME may, which is not offered). Some servers
 * drop it, and would then see CRLF.CRLF in CRLF, NUL, dot, CRLF: the end of the message, and commands after it.
 */
const HAS_NUL = reject(
  550,
  '5.6.0',
  'nul_in_message',
  'the message holds a NUL byte, which mail may not: encode it as base64',
);

export class ContentReader {
  readonly #options: ContentOptions;
  readonly #lineEnds = new LineEnds();
  readonly #longLines = new LongLines();
  /** The header while it is incomplete: the first `#held` bytes. */
  #header: Buffer | undefined = NOTHING;
  #held = 0;
  #receivedBytes = 0;
  #verdict: Verdict;
  #eightBit = false;
  #sizeBytes = 0;
  #headerBytes = 0;
  #messageId: string | undefined;
  #signing: { readonly as: string; readonly hash: BodyHash } | undefined;

  constructor(options: ContentOptions) {
    this.#options = options;
  }

  /** Why the message is refused; once set, what comes is counted and dropped. */
  get verdict(): Verdict {
    return this.#verdict;
  }

  /** The client goes on far beyond the size it was told: it will not stop by itself. */
  get isEndless(): boolean {
    return this.#receivedBytes > 2 * this.#maxBytes + LARGEST_HEADER_BYTES;
  }

  get #maxBytes(): number {
    return this.#options.session.config.settings.limits.messageSizeBytes;
  }

  /** Takes bytes without dot-stuffing. */
  push(chunk: Buffer): Promise<void> | undefined {
    this.#receivedBytes += chunk.length;
    if (this.#verdict) return undefined;
    if (this.#receivedBytes > this.#maxBytes) {
      this.#verdict = tooLarge(this.#maxBytes);
      return undefined;
    }
    if (chunk.includes(0)) {
      this.#verdict = HAS_NUL;
      return undefined;
    }
    return this.#take(this.#longLines.push(this.#lineEnds.push(chunk)));
  }

  /** The message is complete. Call it once. */
  end(): ContentFacts | Rejection {
    // The write that this may cause is awaited with the commit.
    if (!this.#verdict) void this.#take(this.#lineEnds.end());
    // No blank line came: all of it is header. Its last line has an end, since CRLF.CRLF ended the message.
    if (!this.#verdict && this.#header) void this.#finishHeader(this.#header.subarray(0, this.#held), NOTHING);
    if (this.#verdict) return this.#verdict;
    return {
      sizeBytes: this.#sizeBytes,
      headerBytes: this.#headerBytes,
      bodyType: this.#eightBit ? '8BITMIME' : '7BIT',
      ...(this.#messageId === undefined ? {} : { messageId: this.#messageId }),
      ...(this.#signing && { signAs: this.#signing.as, bodyHash: this.#signing.hash.digest() }),
    };
  }

  #take(chunk: Buffer): Promise<void> | undefined {
    if (chunk.length === 0) return undefined;
    if (this.#header === undefined) return this.#body(chunk);
    const before = this.#held;
    const block = this.#hold(this.#header, chunk);
    const startsBlank = block[0] === 0x0d && block[1] === 0x0a;
    // The blank line may start in the last bytes of what came before.
    const blank = startsBlank ? -2 : block.indexOf(BLANK_LINE, Math.max(0, before - 3));
    if ((blank === -1 ? block.length : blank) > LARGEST_HEADER_BYTES) this.#verdict = HEADER_TOO_LARGE;
    if (blank === -1 || this.#verdict) return undefined;
    return this.#finishHeader(block.subarray(0, blank + 2), block.subarray(blank + 4));
  }

  /** All bytes so far, in one buffer that doubles as it grows, so that tiny chunks do not cost a copy of all each. */
  #hold(header: Buffer, chunk: Buffer): Buffer {
    if (this.#held === 0) this.#header = chunk;
    else {
      const bytes = this.#held + chunk.length;
      const grown = bytes <= header.length ? header : Buffer.allocUnsafe(Math.max(bytes, 2 * header.length));
      if (grown !== header) header.copy(grown, 0, 0, this.#held);
      chunk.copy(grown, this.#held);
      this.#header = grown;
    }
    this.#held += chunk.length;
    return (this.#header ?? NOTHING).subarray(0, this.#held);
  }

  #finishHeader(block: Buffer, body: Buffer): Promise<void> | undefined {
    this.#header = undefined;
    const { session, smtputf8 } = this.#options;
    const fields = parseHeader(block);
    const originators = originatorsOf(fields);
    this.#verdict = judge(HEADER, { session, smtputf8, fields, originators });
    if (this.#verdict) return undefined;
    const signAs = signingDomain(session, originators);
    if (signAs !== undefined) this.#signing = { as: signAs, hash: new BodyHash() };
    const header = Buffer.from(this.#complete(fields), 'latin1');
    this.#headerBytes = header.length;
    const waiting = this.#write(header);
    return body.length === 0 ? waiting : (this.#body(body) ?? waiting);
  }

  /** The header as it is stored: ours at the top, the rest as it came, in its order. */
  #complete(fields: readonly HeaderField[]): string {
    const { session, queueId, smtputf8, nowMs } = this.#options;
    const { hostname } = session.config.settings;
    const date = fields.some(({ name }) => name === 'date');
    const given = fields.find(({ name }) => name === 'message-id')?.value;
    const messageId = given ?? `<${queueId}.${nowMs.toString(36)}@${hostname}>`;
    if (messageId.length <= LONGEST_MESSAGE_ID) this.#messageId = messageId;
    return [
      receivedField(session, { hostname, queueId, smtputf8, nowMs }),
      // RFC 6409 8.2, 8.3.
      date ? '' : `Date: ${formatDate(nowMs)}\r\n`,
      given === undefined ? `Message-ID: ${messageId}\r\n` : '',
      ...fields.filter(({ name }) => !REMOVED.has(name)).map(({ raw }) => raw),
      '\r\n',
    ].join('');
  }

  #body(chunk: Buffer): Promise<void> | undefined {
    this.#signing?.hash.update(chunk);
    return this.#write(chunk);
  }

  #write(chunk: Buffer): Promise<void> | undefined {
    this.#eightBit ||= !isAscii(chunk);
    this.#sizeBytes += chunk.length;
    return this.#options.write(chunk);
  }
}
