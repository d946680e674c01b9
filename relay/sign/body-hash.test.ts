import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { BodyHash } from './body-hash.ts';

/** RFC 6376 3.4.4, word for word, over a whole body. */
function naive(body: string): string {
  const lines = body.split('\r\n').map((line) => line.replace(/[ \t]+/g, ' ').replace(/ $/, ''));
  const text = lines.join('\r\n').replace(/(\r\n)+$/, '');
  return createHash('sha256')
    .update(text === '' ? '' : `${text}\r\n`, 'latin1')
    .digest('base64');
}

const hashed = (...chunks: string[]): string => {
  const hash = new BodyHash();
  for (const chunk of chunks) hash.update(Buffer.from(chunk, 'latin1'));
  return hash.digest();
};

test('an empty body has the hash that RFC 6376 gives', () => {
  assert.equal(hashed(), '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
});

const PIECES = ['\r\n', ' ', '\t', 'a', 'bc', '.', '\xe4'];

test('any body in any chunks hashes as the whole body does', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }), { maxLength: 6 }), (chunks) => {
      const texts = chunks.map((pieces) => pieces.join(''));
      assert.equal(hashed(...texts), naive(texts.join('')));
    }),
    { numRuns: 3000 },
  );
});

test('a line end split between two chunks counts as one', () => {
  assert.equal(hashed('one \r', '\n two\r', '\n\r', '\n'), naive('one \r\n two\r\n\r\n'));
});
