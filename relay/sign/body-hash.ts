/** The DKIM body hash in relaxed canonical form (RFC 6376 3.4.4), computed while a message passes by. */
import { createHash } from 'node:crypto';

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const CRLF = Buffer.from('\r\n');
const MANY_LINE_ENDS = Buffer.alloc(8192, CRLF);
/** What makes a stretch of text differ from its canonical form, given that it starts and ends with content. */
const NOT_CANONICAL = /\t| [ \r]/;

/**
 * Feed it the body, with CRLF line ends only, in chunks of any size.
 *
 * White space at the end of a line and empty lines at the end of the body do not count, and runs of white space inside
 * a line count as one space. So the white space at both ends of a chunk is only noted until content follows that makes
 * it count. What lies between is scanned by the regular expression engine, which is several times faster than a loop
 * over bytes; most mail is canonical as it stands and is hashed without a copy.
 */
export class BodyHash {
  readonly #hash = createHash('sha256');
  /** Line ends since the last content. */
  #lineEnds = 0;
  /** White space since the last content or line end. */
  #space = false;
  #hasContent = false;

  update(chunk: Buffer): void {
    let start = 0;
    let end = chunk.length;
    while (start < end && isSpace(chunk[start])) start += 1;
    while (start < end && isSpace(chunk[end - 1])) end -= 1;
    this.#note(chunk, 0, start);
    if (start === end) return;
    this.#release();
    this.#content(chunk, start, end);
    this.#note(chunk, end, chunk.length);
  }

  /** Base64 SHA-256. An empty body hashes as no bytes at all; any other ends with one CRLF. Call it once. */
  digest(): string {
    if (this.#hasContent) this.#hash.update(CRLF);
    return this.#hash.digest('base64');
  }

  #note(chunk: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += 1) {
      const byte = chunk[at];
      if (byte === LF) {
        this.#lineEnds += 1;
        this.#space = false;
      } else if (byte !== CR) {
        this.#space = true;
      }
    }
  }

  #release(): void {
    for (; this.#lineEnds > 0; this.#lineEnds -= MANY_LINE_ENDS.length / 2) {
      this.#hash.update(MANY_LINE_ENDS.subarray(0, 2 * this.#lineEnds));
    }
    this.#lineEnds = 0;
    if (this.#space) this.#hash.update(' ');
    this.#space = false;
    this.#hasContent = true;
  }

  #content(chunk: Buffer, start: number, end: number): void {
    // latin1 keeps every byte as it is, whatever the charset.
    const text = chunk.toString('latin1', start, end);
    if (NOT_CANONICAL.test(text)) {
      // Collapsing first keeps this linear: /[ \t]+\r/ would look at a long run of blanks once from each of them.
      this.#hash.update(text.replace(/[ \t]{2,}|\t/g, ' ').replaceAll(' \r\n', '\r\n'), 'latin1');
    } else {
      this.#hash.update(chunk.subarray(start, end));
    }
  }
}

const isSpace = (byte: number | undefined): boolean => byte === SP || byte === TAB || byte === CR || byte === LF;
