import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { LineEnds } from './line-ends.ts';

function mend(...chunks: readonly string[]): string {
  const lineEnds = new LineEnds();
  const out = chunks.map((chunk) => Buffer.from(lineEnds.push(Buffer.from(chunk, 'latin1'))));
  return Buffer.concat([...out, lineEnds.end()]).toString('latin1');
}

test('every CRLF, bare CR and bare LF is one CRLF, in any chunks', () => {
  const pieces = fc.array(fc.array(fc.constantFrom('\r', '\n', 'x', '.', '\0', 'ÿ')).map((bytes) => bytes.join('')));
  fc.assert(
    fc.property(pieces, (chunks) => {
      assert.equal(mend(...chunks), chunks.join('').replace(/\r\n|\r|\n/g, '\r\n'));
    }),
    { numRuns: 2_000 },
  );
});

test('a CR at the end of the message is a line end', () => {
  assert.equal(mend('a\r'), 'a\r\n');
});

test('what is clean is passed on without a copy', () => {
  const chunk = Buffer.from('a\r\n\r\nb\r\n');
  assert.equal(new LineEnds().push(chunk), chunk);
});

test('a clean chunk after a CR that was held back is not taken for clean', () => {
  assert.equal(mend('a\r', 'b\r\n'), 'a\r\nb\r\n');
  assert.equal(mend('a\r', '\nb\r\n'), 'a\r\nb\r\n');
  assert.equal(mend('a\r', '\r', '\n'), 'a\r\n\r\n');
});
