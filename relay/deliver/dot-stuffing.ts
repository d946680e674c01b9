/** Puts a dot before lines that start with one (RFC 5321 4.5.2), and ends a message. */
const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const LINE_WITH_DOT = Buffer.from('\r\n.');
const END = Buffer.from('.\r\n');
const LINE_END_AND_END = Buffer.from('\r\n.\r\n');

/** One message, whose line ends are CRLF, in chunks of any size. */
export class DotStuffer {
  /** The last two bytes, 0 before there were any. */
  #last = 0;
  #beforeLast = 0;
  #begun = false;

  /** What to send for a chunk: itself, where no line of it starts with a dot. */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk;
    const places = this.#places(chunk);
    this.#begun = true;
    this.#beforeLast = chunk.length > 1 ? (chunk[chunk.length - 2] ?? 0) : this.#last;
    this.#last = chunk[chunk.length - 1] ?? 0;
    if (places.length === 0) return chunk;
    const stuffed = Buffer.allocUnsafe(chunk.length + places.length);
    let from = 0;
    let to = 0;
    for (const place of places) {
      to += chunk.copy(stuffed, to, from, place);
      stuffed[to] = DOT;
      to += 1;
      from = place;
    }
    chunk.copy(stuffed, to, from);
    return stuffed;
  }

  /** What ends the message. Content whose last line has no CRLF is given one: the end of data needs it. */
  end(): Buffer {
    return this.#begun && this.#atLineStart ? END : LINE_END_AND_END;
  }

  get #atLineStart(): boolean {
    return !this.#begun || (this.#beforeLast === CR && this.#last === LF);
  }

  /** Where the dots stand that start a line. */
  #places(chunk: Buffer): readonly number[] {
    const places: number[] = [];
    if (chunk[0] === DOT && this.#atLineStart) places.push(0);
    // A line end that the chunk before began.
    if (this.#last === CR && chunk[0] === LF && chunk[1] === DOT) places.push(1);
    for (let at = chunk.indexOf(LINE_WITH_DOT); at >= 0; at = chunk.indexOf(LINE_WITH_DOT, at + 2)) places.push(at + 2);
    return places;
  }
}
