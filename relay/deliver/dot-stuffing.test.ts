import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DotStuffer } from './dot-stuffing.ts';

const sent = (chunks: readonly string[]): string => {
  const dots = new DotStuffer();
  const parts = chunks.map((chunk) => dots.push(Buffer.from(chunk, 'latin1')).toString('latin1'));
  return parts.join('') + dots.end().toString('latin1');
};

test('in any chunks, each line that starts with a dot gets another, and the message ends once', () => {
  const pieces = fc.constantFrom('.', '..', '\r\n', '\r\n.', 'a', '\r\n.\r\n');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 20 }), fc.integer({ min: 1, max: 4 }), (parts, step) => {
      const text = parts.join('');
      const lines = text.split('\r\n');
      if (lines.at(-1) === '' && lines.length > 1) lines.pop();
      const expected = lines.map((line) => `${line.startsWith('.') ? '.' : ''}${line}\r\n`).join('');
      assert.equal(sent(text.match(new RegExp(`[^]{1,${step}}`, 'g')) ?? []), `${expected}.\r\n`);
    }),
    { numRuns: 2000 },
  );
});

test('content without dots at the start of lines is not copied', () => {
  const content = Buffer.from('Subject: x.\r\n\r\na.b\r\n');
  assert.equal(new DotStuffer().push(content), content);
});
