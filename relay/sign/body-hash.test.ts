import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { BodyHash } from './body-hash.ts';

/** RFC 6376 3.4.4, word for word, over a whole body. */
function naive(body: string): string {
  const lines = body.split('\r\n').map((line) => line.replace(/[ \t]+/g, ' ').replace(/ $/, ''));
  const text = lines.join('\r\n').replace(/(\r\n)+$/, '');
  return createHash('sha256')
    .update(text === '' ? '' : `${text}\r\n`, 'latin1')
    .digest('base64');
}

const hashOf = (...chunks: readonly string[]): string => {
  const hash = new BodyHash();
  for (const chunk of chunks) hash.update(Buffer.from(chunk, 'latin1'));
  return hash.digest();
};

/** The body hash that mailauth finds for a signature in relaxed form. */
async function mailauthHash(body: string): Promise<unknown> {
  const field =
    'DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.test; s=s1; h=from; bh=AAAA; b=AAAA\r\n';
  const { results } = await dkimVerify(Buffer.from(`${field}From: ana@example.test\r\n\r\n${body}`, 'latin1'), {
    resolver: async () => [['v=DKIM1; p=AAAA']],
  });
  return results[0]?.bodyHash;
}

const piece = fc.constantFrom('\r\n', '\r\n', ' ', '\t', 'a', 'b c', '.', '\xe4', '\0');
const text = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''));

describe('BodyHash', () => {
  test('gives the hashes of RFC 6376 for a missing body and for its example of canonical form', () => {
    assert.equal(hashOf(), '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
    assert.equal(
      hashOf(' C \r\nD \t E\r\n\r\n\r\n'),
      createHash('sha256').update(' C\r\nD E\r\n').digest('base64'),
      'RFC 6376 3.4.5',
    );
  });

  test('hashes a body in any chunks as it hashes the whole', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(60), { maxLength: 8 }), (body, cuts) => {
        const edges = [0, ...cuts.filter((cut) => cut < body.length).sort((a, b) => a - b), body.length];
        const chunks = edges.slice(1).map((edge, index) => body.slice(edges[index], edge));
        assert.equal(chunks.join(''), body);
        assert.equal(hashOf(...chunks), naive(body));
      }),
      { numRuns: 3000 },
    );
  });

  test('agrees with mailauth', async () => {
    await fc.assert(
      fc.asyncProperty(text, async (body) => {
        assert.equal(hashOf(body), await mailauthHash(body));
      }),
      { numRuns: 300 },
    );
  });

  test('counts a line end that is split between two chunks once', () => {
    assert.equal(hashOf('one \r', '\n two\r', '\n\r', '\n'), naive('one \r\n two\r\n\r\n'));
  });

  test('remembers more blank lines than it hashes at once', () => {
    const blank = '\r\n'.repeat(5_000);
    assert.equal(hashOf('above', blank, 'below', blank), naive(`above${blank}below`));
  });

  test('takes time in proportion to the body, also for long runs of blanks', () => {
    const run = `a${' '.repeat(4_000_000)}b`;
    const startedMs = performance.now();
    assert.equal(hashOf(run), naive('a b'));
    assert.ok(performance.now() - startedMs < 5_000, 'a scan that starts over at each blank would take hours');
  });
});
