/** Cuts what a server sends into replies (RFC 5321 4.2.1). */

/** Bytes of a reply, or of replies that nobody asked for: more is no reply. */
const MAX_BYTES = 64 * 1024;
const LF = 0x0a;
const CR = 0x0d;
const HYPHEN = 0x2d;
const NOTHING = Buffer.alloc(0);

export class ReplyReader {
  #held: Buffer = NOTHING;
  /** Where the line starts that is not complete yet. */
  #lineStart = 0;

  /** @returns false when the server says more than a reply may hold */
  push(chunk: Buffer): boolean {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    return this.#held.length <= MAX_BYTES;
  }

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** The next complete reply, its lines apart by LF. A line that is none of SMTP's is a reply by itself. */
  next(): string | undefined {
    const held = this.#held;
    for (;;) {
      const lf = held.indexOf(LF, this.#lineStart);
      if (lf < 0) return undefined;
      if (!goesOn(held, this.#lineStart)) {
        const text = held.toString('utf8', 0, held[lf - 1] === CR ? lf - 1 : lf);
        this.#held = lf + 1 === held.length ? NOTHING : held.subarray(lf + 1);
        this.#lineStart = 0;
        return text.includes('\r') ? text.replaceAll('\r\n', '\n') : text;
      }
      this.#lineStart = lf + 1;
    }
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

const goesOn = (bytes: Buffer, at: number): boolean =>
  bytes[at + 3] === HYPHEN && isDigit(bytes[at]) && isDigit(bytes[at + 1]) && isDigit(bytes[at + 2]);
