/** The lines of one turn of the event loop, in one write: a write to a pipe costs more than making the line. */

/** More than this goes out before the turn ends. */
const WRITTEN_AT_ONCE = 64 * 1024;

/** @param out is written to synchronously where it is a pipe or a file, so what an exit finds here is not lost */
export function linesByTurn(out: NodeJS.WritableStream): { write(line: string): void } {
  let lines = '';
  const flush = (): void => {
    const written = lines;
    lines = '';
    if (written !== '') out.write(written);
  };
  process.on('exit', flush);
  return {
    write(line) {
      if (lines === '') setImmediate(flush);
      lines += line;
      if (lines.length > WRITTEN_AT_ONCE) flush();
    },
  };
}
