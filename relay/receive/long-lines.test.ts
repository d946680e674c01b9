import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LongLines } from './long-lines.ts';

const broken = (...chunks: readonly (string | Buffer)[]): string => {
  const lines = new LongLines();
  return Buffer.concat(chunks.map((chunk) => lines.push(Buffer.from(chunk)))).toString('latin1');
};

test('a line of 998 bytes is left alone, and the chunk with it', () => {
  const chunk = Buffer.from(`${'x'.repeat(998)}\r\n${'y'.repeat(998)}`);
  assert.equal(new LongLines().push(chunk), chunk);
});

test('a longer one is broken into a line of 998 and one that begins with a space', () => {
  assert.equal(broken(`${'x'.repeat(999)}\r\nnext\r\n`), `${'x'.repeat(998)}\r\n x\r\nnext\r\n`);
});

test('a line that goes on and on is broken over and over', () => {
  assert.equal(broken('x'.repeat(998 + 997 + 5)), `${'x'.repeat(998)}\r\n ${'x'.repeat(997)}\r\n ${'x'.repeat(5)}`);
});

test('a character of UTF-8 is not broken', () => {
  const text = Buffer.from(`${'x'.repeat(997)}\u{1f4e7}\r\n`);
  assert.equal(Buffer.from(broken(text), 'latin1').toString(), `${'x'.repeat(997)}\r\n \u{1f4e7}\r\n`);
});

test('a character of UTF-8 is not broken where it comes in parts, either', () => {
  for (const cut of [1, 2, 3]) {
    const email = Buffer.from('\u{1f4e7}');
    const text = broken('x'.repeat(995), email.subarray(0, cut), email.subarray(cut), '\r\n');
    assert.equal(Buffer.from(text, 'latin1').toString(), `${'x'.repeat(995)}\r\n \u{1f4e7}\r\n`);
  }
});

test('whatever the text and its chunks, no line is too long, and without the breaks it is as it was', () => {
  const line = fc
    .tuple(fc.constantFrom('x', 'é', '€', '\u{1f4e7}', ' '), fc.nat(1_100), fc.nat(30))
    .map(([character, times, more]) => Buffer.from(`${character.repeat(times)}${'y'.repeat(more)}`));
  const bytes = fc.uint8Array({ maxLength: 20 }).map((some) => Buffer.from(some.filter((b) => b !== 10 && b !== 13)));
  const text = fc
    .array(fc.oneof({ weight: 4, arbitrary: line }, { weight: 1, arbitrary: bytes }), { maxLength: 8 })
    .map((lines) => Buffer.concat(lines.flatMap((one) => [one, Buffer.from('\r\n')])));
  fc.assert(
    fc.property(text, fc.array(fc.nat(1_500), { maxLength: 12 }), (whole, cuts) => {
      const chunks: Buffer[] = [];
      let rest = whole;
      for (const cut of cuts) {
        // A CR never comes without its LF (line-ends.ts).
        const at = rest[cut - 1] === 0x0d ? cut - 1 : cut;
        chunks.push(rest.subarray(0, at));
        rest = rest.subarray(at);
      }
      const out = broken(...chunks, rest);
      assert.equal(out, broken(whole));
      assert.ok(out.split('\r\n').every((one) => one.length <= 998));
      const again = out.split('\r\n');
      const before = whole.toString('latin1').split('\r\n');
      // Each line is one or more of the new ones, all of which but the first begin with the space that was put there.
      for (const one of before) {
        let joined = again.shift() ?? '';
        while (joined.length < one.length) joined += (again.shift() ?? '\0').slice(1);
        assert.equal(joined, one);
      }
      assert.deepEqual(again, []);
    }),
  );
});
