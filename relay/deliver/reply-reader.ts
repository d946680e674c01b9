/** Cuts what a server sends into replies (RFC 5321 4.2.1). */

/** Bytes of a reply, or of replies that nobody asked for: more is no reply. */
const MAX_BYTES = 64 * 1024;
const LF = 0x0a;
const CR = 0x0d;
const HYPHEN = 0x2d;
const NOTHING = Buffer.alloc(0);

export class ReplyReader {
  /** What came and was not read yet: the first #length bytes. Room behind them, so that single bytes cost little. */
  #held: Buffer = NOTHING;
  #length = 0;
  /** Where the line starts that is not complete yet, and up to where it has no end. */
  #lineStart = 0;
  #searched = 0;

  /** @returns false when the server says more than a reply may hold */
  push(chunk: Buffer): boolean {
    const length = this.#length + chunk.length;
    if (this.#length === 0) this.#held = chunk;
    else {
      if (length > this.#held.length) {
        const grown = Buffer.allocUnsafe(2 * length);
        this.#held.copy(grown, 0, 0, this.#length);
        this.#held = grown;
      }
      chunk.copy(this.#held, this.#length);
    }
    this.#length = length;
    return length <= MAX_BYTES;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** The next complete reply, its lines apart by LF. A line that is none of SMTP's is a reply by itself. */
  next(): string | undefined {
    const held = this.#held.subarray(0, this.#length);
    for (;;) {
      const lf = held.indexOf(LF, this.#searched);
      if (lf < 0) {
        this.#searched = this.#length;
        return undefined;
      }
      if (!goesOn(held, this.#lineStart)) {
        const text = held.toString('utf8', 0, held[lf - 1] === CR ? lf - 1 : lf);
        this.#held = lf + 1 === held.length ? NOTHING : held.subarray(lf + 1);
        this.#length = this.#held.length;
        this.#lineStart = 0;
        this.#searched = 0;
        return text.includes('\r') ? text.replaceAll('\r\n', '\n') : text;
      }
      this.#lineStart = lf + 1;
      this.#searched = lf + 1;
    }
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

const goesOn = (bytes: Buffer, at: number): boolean =>
  bytes[at + 3] === HYPHEN && isDigit(bytes[at]) && isDigit(bytes[at + 1]) && isDigit(bytes[at + 2]);
