import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { quotedPrintable } from './quoted-printable.ts';

/** Python's decoder, of many texts at once. */
function decoded(texts: readonly Buffer[]): Buffer[] {
  const script =
    'import base64, json, quopri, sys\nprint(json.dumps([base64.b64encode(quopri.decodestring(base64.b64decode(t))).decode() for t in json.load(sys.stdin)]))';
  const input = JSON.stringify(texts.map((text) => text.toString('base64')));
  const answer: unknown = JSON.parse(execFileSync('python3', ['-c', script], { input }).toString());
  assert.ok(Array.isArray(answer));
  return answer.map((text) => Buffer.from(String(text), 'base64'));
}

test('any text comes back as it was, from ASCII lines of at most 76 characters', () => {
  const piece = fc.constantFrom('\r\n', ' ', '\t', '=', 'a', 'word', 'ä', '\u{1f4e7}', '\0', '\x7f', 'x'.repeat(80));
  const texts = fc
    .sample(fc.array(piece, { maxLength: 30 }), { numRuns: 500, seed: 1 })
    .map((pieces) => Buffer.from(pieces.join('')));
  const encoded = texts.map(quotedPrintable);
  for (const text of encoded) {
    for (const line of text.toString('latin1').split('\r\n')) assert.match(line, /^(?:[\t -~]{0,75}[!-~])?$/);
  }
  assert.deepEqual(decoded(encoded), texts);
});
