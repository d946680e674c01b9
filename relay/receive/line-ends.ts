/** Makes every line end CRLF: a bare CR or LF would be read as a line end by some servers and not by others. */
const CR = 0x0d;
const LF = 0x0a;
const CRLF = Buffer.from('\r\n');
const NOTHING = Buffer.alloc(0);

export class LineEnds {
  /** A CR that ended the last chunk: what follows tells whether it stands alone. */
  #pending = false;

  /** The chunk with CRLF line ends; itself when there is nothing to mend, as in nearly all mail. */
  push(chunk: Buffer): Buffer {
    if (!this.#pending && isClean(chunk)) return chunk;
    // At worst a CR was held back and every byte is a bare line end.
    const out = Buffer.allocUnsafe(2 * chunk.length + 2);
    let to = 0;
    let pending = this.#pending;
    const endLine = () => {
      out[to++] = CR;
      out[to++] = LF;
    };
    for (const byte of chunk) {
      if (pending) {
        endLine();
        pending = false;
        if (byte === LF) continue;
      }
      if (byte === CR) pending = true;
      else if (byte === LF) endLine();
      else out[to++] = byte;
    }
    this.#pending = pending;
    return out.subarray(0, to);
  }

  /** What is still held back. */
  end(): Buffer {
    const held = this.#pending ? CRLF : NOTHING;
    this.#pending = false;
    return held;
  }
}

/** Whether every CR is followed by LF and every LF follows a CR, within this chunk. */
function isClean(chunk: Buffer): boolean {
  let afterCr = false;
  for (let at = 0; at < chunk.length; at++) {
    const byte = chunk[at];
    if ((byte === LF) !== afterCr) return false;
    afterCr = byte === CR;
  }
  return !afterCr;
}
