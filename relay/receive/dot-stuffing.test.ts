import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { DotUnstuffer } from './dot-stuffing.ts';

interface Read {
  readonly content: string;
  /** What follows the message; undefined while it has not ended. */
  readonly rest: string | undefined;
}

/** Feeds the pieces as chunks of their own, as a socket would. */
function read(...pieces: readonly string[]): Read {
  const dots = new DotUnstuffer();
  let content = '';
  for (const [index, piece] of pieces.entries()) {
    content += dots.push(Buffer.from(piece, 'latin1'), 0).toString('latin1');
    if (dots.end >= 0) return { content, rest: piece.slice(dots.end) + pieces.slice(index + 1).join('') };
  }
  return { content, rest: undefined };
}

/** The rule itself, in as few words as it takes (RFC 5321 4.5.2): the end first, then a dot off each line. */
function reference(bytes: string): Read {
  // DATA itself ended with the CRLF that the first line starts after.
  const all = `\r\n${bytes}`;
  const end = all.indexOf('\r\n.\r\n');
  const content = (end < 0 ? all : all.slice(0, end + 2)).replaceAll('\r\n.', '\r\n').slice(2);
  return { content, rest: end < 0 ? undefined : all.slice(end + 5) };
}

/** Mostly what matters: CR, LF and dots, and now and then something else. */
const PIECES = fc.array(
  fc
    .array(fc.constantFrom('\r', '\n', '.', '\r\n', '\r\n.', '.\r', 'x', '\0'), { maxLength: 6 })
    .map((s) => s.join('')),
  { maxLength: 12 },
);

test('any bytes in any chunks are read by the rule', () => {
  fc.assert(
    fc.property(PIECES, (pieces) => {
      // The end of the message tells whether a dot or CR at the very end is content.
      const whole = [...pieces, 'end\r\n.\r\nrest'];
      assert.deepEqual(read(...whole), reference(whole.join('')));
    }),
    { numRuns: 5_000 },
  );
});

test('each split of a message in two, and byte by byte, gives the same', () => {
  const bytes = '..\r\n.\rx\r\n.x\r\r\n.\n\r\n\r\n...\r\n.\r\nMAIL';
  const expected = reference(bytes);
  for (let at = 0; at <= bytes.length; at += 1) {
    assert.deepEqual(read(bytes.slice(0, at), bytes.slice(at)), expected, `split at ${at}`);
  }
  assert.deepEqual(read(...bytes.split('')), expected);
});

test('what follows the message in its last chunk is neither read nor changed', () => {
  const dots = new DotUnstuffer();
  const chunk = Buffer.from('skipped..a\r\n..b\r\n.\r\n..MAIL\r\n..');
  assert.equal(dots.push(chunk, 7).toString(), '.a\r\n.b\r\n');
  assert.equal(chunk.toString('latin1', dots.end), '..MAIL\r\n..');
  assert.equal(chunk.toString('latin1', 0, 7), 'skipped');
});

test('a message without a line ends with the dot alone', () => {
  assert.deepEqual(read('.\r\n'), { content: '', rest: '' });
});

for (const end of [
  '\n.\n',
  '\n.\r\n',
  '\r.\r',
  '\r\n.\n',
  '\r\n.\r',
  '\r.\r\n',
  '\r\n\0.\r\n',
  '\r\n.\0\r\n',
  '\r\n. \r\n',
]) {
  test(`${JSON.stringify(end)} ends no message`, () => {
    const { rest } = read(`text${end}MAIL FROM:<a@b>\r\n`);
    assert.equal(rest, undefined);
  });
}

/** CPU time of the fastest of some runs: what else the machine does counts least there. */
function fastestMs(run: () => void): number {
  const times = Array.from({ length: 5 }, () => {
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return Math.min(...times);
}

for (const [what, unit] of [
  ['dots', '.'],
  ['lines of a dot', '..\r\n'],
  ['CRs', '\r'],
  ['lines of nothing', '\r\n'],
] as const) {
  test(`${what} only cost time in proportion to their number`, () => {
    const cost = (bytes: number) =>
      fastestMs(() => {
        new DotUnstuffer().push(Buffer.alloc(bytes, unit), 0);
      });
    cost(1 << 20);
    const small = cost(1 << 20);
    const large = cost(8 << 20);
    // Quadratic would be 64 times.
    assert.ok(large < 24 * Math.max(small, 1), `1 MiB takes ${small} ms, 8 MiB ${large} ms`);
  });
}
