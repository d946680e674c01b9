/** Takes the dots out that SMTP puts before lines (RFC 5321 4.5.2), and finds the end of a message. */
const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const LINE_WITH_DOT = Buffer.from('\r\n.');
const HELD_CR = Buffer.from('\r');

/** Where in a line the reader stands: what the next byte means depends on it. */
const TEXT = 0;
const AFTER_CR = 1;
const LINE_START = 2;
const AFTER_DOT = 3;
const AFTER_DOT_CR = 4;
const AFTER_END = 5;

/**
 * Reads one message, in chunks of any size. Only CRLF.CRLF ends it (RFC 5321 4.1.1.4): a bare CR or LF never stands
 * for a line end here, or a message could hold commands that only some servers see ("SMTP smuggling").
 *
 * Lines are found by search, not byte by byte. Dots are taken out in place: a chunk of dots alone costs one pass and
 * no memory.
 */
export class DotUnstuffer {
  #state = LINE_START;
  /** Index in the last chunk of what follows the message; -1 while it has not ended. */
  end = -1;

  /**
   * @param chunk is changed, and shared with what is returned
   * @param from index at which the content starts in it
   * @returns content without the dots
   */
  push(chunk: Buffer, from: number): Buffer {
    let state = this.#state;
    // Content after all, unless the LF of the end is the first byte here.
    const heldCr = state === AFTER_DOT_CR && chunk.length > from && chunk[from] !== LF;
    // Content is moved to `to` from `start` once it has to be.
    let to = from;
    let start = from;
    let at = from;
    const keep = (until: number) => {
      if (to !== start) chunk.copyWithin(to, start, until);
      to += until - start;
    };
    const kept = () => {
      const content = chunk.subarray(from, to);
      return heldCr ? Buffer.concat([HELD_CR, content]) : content;
    };
    while (at < chunk.length) {
      if (state === TEXT) {
        const line = chunk.indexOf(LINE_WITH_DOT, at);
        if (line < 0) {
          state = stateAtEnd(chunk, at);
          at = chunk.length;
          break;
        }
        at = line + 2;
        state = LINE_START;
      }
      const next = following(state, chunk[at]);
      if (next === AFTER_END) {
        this.end = at + 1;
        return kept();
      }
      if (next === AFTER_DOT) {
        keep(at);
        start = at + 1;
      }
      state = next;
      at += 1;
    }
    // What follows tells whether this CR is content.
    keep(state === AFTER_DOT_CR && start < at ? at - 1 : at);
    this.#state = state;
    return kept();
  }
}

function following(state: number, byte: number | undefined): number {
  if (state === LINE_START && byte === DOT) return AFTER_DOT;
  if (state === AFTER_DOT && byte === CR) return AFTER_DOT_CR;
  if (state === AFTER_DOT_CR && byte === LF) return AFTER_END;
  if (state === AFTER_CR && byte === LF) return LINE_START;
  // A CR after a dot that did not end the message is content.
  return byte === CR ? AFTER_CR : TEXT;
}

/** The state at the end of a chunk whose bytes from `at` on hold no line that starts with a dot. */
function stateAtEnd(chunk: Buffer, at: number): number {
  const last = chunk.length - 1;
  if (chunk[last] === CR) return AFTER_CR;
  return chunk[last] === LF && last > at && chunk[last - 1] === CR ? LINE_START : TEXT;
}
