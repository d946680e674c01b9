/**
 * Breaks lines of a message that are longer than SMTP carries (RFC 5321 4.5.3.1.6), as Postfix does where it sends them.
 * Here it is done before the message is signed: what a later server breaks has no signature that holds.
 */
const LF = 0x0a;
const CR = 0x0d;
/** Without its CRLF. */
const LONGEST = 998;
const BREAK = Buffer.from('\r\n ');

export class LongLines {
  /** Length so far of the line in which the last chunk ended. */
  #column = 0;

  /** The chunk, whose line ends are CRLF, with no line too long; itself where there is none, as in nearly all mail. */
  push(chunk: Buffer): Buffer {
    const column = columnAfter(chunk, this.#column);
    if (column === undefined) return this.#broken(chunk);
    this.#column = column;
    return chunk;
  }

  #broken(chunk: Buffer): Buffer {
    // One break at most for each 994 bytes: the space takes one, and a character of UTF-8 goes to the next line whole.
    const out = Buffer.allocUnsafe(chunk.length + BREAK.length * (2 + Math.floor(chunk.length / (LONGEST - 4))));
    let to = 0;
    for (const byte of chunk) {
      if (byte !== CR && byte !== LF && this.#column + bytesOfCharacter(byte) > LONGEST) {
        to += BREAK.copy(out, to);
        this.#column = 1;
      }
      out[to] = byte;
      to += 1;
      if (byte === LF) this.#column = 0;
      else if (byte !== CR) this.#column += 1;
    }
    return out.subarray(0, to);
  }
}

/**
 * The length of the line in which the chunk ends, or undefined where one is too long. From the start of a line it looks
 * back from as far as the line may go: so of most lines nothing is looked at.
 */
function columnAfter(chunk: Buffer, column: number): number | undefined {
  let start = -column;
  for (;;) {
    const farthest = start + LONGEST + 1;
    const lf = chunk.length === 0 ? -1 : chunk.lastIndexOf(LF, Math.min(farthest, chunk.length - 1));
    if (farthest >= chunk.length - 1) {
      const length = lf >= Math.max(start, 0) ? chunk.length - lf - 1 : chunk.length - start;
      return length + missingBytes(chunk) <= LONGEST ? length : undefined;
    }
    if (lf < Math.max(start, 0)) return undefined;
    start = lf + 1;
  }
}

/** What is still to come of the character that the chunk ends in: the break, if there is one, has to be before it. */
function missingBytes(chunk: Buffer): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = chunk[chunk.length - back] ?? 0;
    if ((byte & 0xc0) !== 0x80) return Math.max(0, bytesOfCharacter(byte) - back);
  }
  return 0;
}

/** By its first byte (RFC 3629 3); 1 for bytes that are none. */
function bytesOfCharacter(byte: number): number {
  if (byte < 0xc2 || byte > 0xf4) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}
