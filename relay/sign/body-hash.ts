/** The DKIM body hash in relaxed canonical form (RFC 6376 3.4.4), computed while a message passes by. */
import { createHash } from 'node:crypto';

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const CRLF = Buffer.from('\r\n');

/**
 * Feed it the body, with CRLF line ends only, in chunks of any size.
 *
 * Trailing white space of a line and empty lines at the end of the body do not count, and runs of white space inside a
 * line count as one space; so both are held back until something follows that makes them count.
 */
export class BodyHash {
  readonly #hash = createHash('sha256');
  /** Line ends that count only when another line with content follows. */
  #lineEnds = 0;
  #spaces = false;
  #content = false;

  update(chunk: Buffer): void {
    // Start of the run of bytes that are canonical as they stand, or -1.
    let start = -1;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === CR || byte === LF || byte === SP || byte === TAB) {
        if (start >= 0) {
          // One space between words is canonical already: the run goes on, as in most text.
          const next = chunk[at + 1];
          if (byte === SP && next !== undefined && next !== SP && next !== TAB && next !== CR) continue;
          this.#hash.update(chunk.subarray(start, at));
          start = -1;
        }
        this.#space(byte);
      } else if (start < 0) {
        this.#flush();
        start = at;
      }
    }
    if (start >= 0) this.#hash.update(chunk.subarray(start));
  }

  /** Base64 SHA-256. An empty body hashes as no bytes at all; any other ends with one CRLF. Call it once. */
  digest(): string {
    if (this.#content) this.#hash.update(CRLF);
    return this.#hash.digest('base64');
  }

  #space(byte: number): void {
    if (byte === LF) {
      // White space before the line end is dropped.
      this.#spaces = false;
      this.#lineEnds += 1;
    } else if (byte !== CR) {
      this.#spaces = true;
    }
  }

  #flush(): void {
    for (; this.#lineEnds > 0; this.#lineEnds -= 1) this.#hash.update(CRLF);
    if (this.#spaces) this.#hash.update(' ');
    this.#spaces = false;
    this.#content = true;
  }
}
