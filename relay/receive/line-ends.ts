/** Makes every line end CRLF: a bare CR or LF would be read as a line end by some servers and not by others. */
const CR = 0x0d;
const LF = 0x0a;
const CRLF = Buffer.from('\r\n');

export class LineEnds {
  /** A CR that ended the last chunk: what follows tells whether it stands alone. */
  #pending = false;

  /** The chunk with CRLF line ends; itself when there is nothing to mend, as in nearly all mail. */
  push(chunk: Buffer): Buffer {
    if (!this.#pending && isClean(chunk)) return chunk;
    const out: Buffer[] = [];
    let start = 0;
    if (this.#pending) {
      out.push(CRLF);
      if (chunk[0] === LF) start = 1;
      this.#pending = false;
    }
    for (let at = start; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte !== CR && byte !== LF) continue;
      out.push(chunk.subarray(start, at));
      if (byte === CR && at + 1 === chunk.length) {
        this.#pending = true;
        return Buffer.concat(out);
      }
      out.push(CRLF);
      if (byte === CR && chunk[at + 1] === LF) at += 1;
      start = at + 1;
    }
    out.push(chunk.subarray(start));
    return Buffer.concat(out);
  }

  /** What is still held back. */
  end(): Buffer {
    const held = this.#pending ? CRLF : Buffer.alloc(0);
    this.#pending = false;
    return held;
  }
}

/** Whether every CR is followed by LF and every LF follows a CR, within this chunk. */
function isClean(chunk: Buffer): boolean {
  let at = 0;
  for (;;) {
    const lf = chunk.indexOf(LF, at);
    const cr = chunk.indexOf(CR, at);
    if (lf < 0 && cr < 0) return true;
    if (cr < 0 || lf !== cr + 1) return false;
    at = lf + 1;
  }
}
