import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { CERTIFICATES } from '../../relay/config/documents.ts';
import { relay } from '../../test/harness/manifests.ts';
import type { Reference } from '../backend.ts';
import { configuredCertificate } from './configured-certificate.ts';
import { CERTIFICATE_LIFE_MS, type CertifiedKey, makeCA, makeServerCertificate } from './pki.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const DAY_MS = 24 * 3_600_000;
const outbound = relay('outbound', {
  hostname: 'Relay.example.test',
  tls: { certificate: { secretRef: { name: 'mine' } }, minVersion: 'TLSv1.2' },
});

let good: CertifiedKey;
let other: CertifiedKey;
let served: CertifiedKey;
before(async () => {
  const ca = await makeCA('A public CA', NOW - DAY_MS);
  good = await makeServerCertificate(ca, ['relay.example.test'], NOW);
  other = await makeServerCertificate(ca, ['else.example.test'], NOW);
  served = await makeServerCertificate(ca, ['relay.example.test'], NOW - 80 * DAY_MS);
});

const holding = ({ certificate, key }: CertifiedKey): Reference => ({
  data: { 'tls.crt': certificate, 'tls.key': key },
});
/** Documents that were applied, with this certificate for this name. */
const appliedWith = ({ certificate, key }: CertifiedKey, name = 'relay.example.test') =>
  new Map([
    [
      CERTIFICATES,
      JSON.stringify({ default: { chain: 'c', key: 'k' }, named: [{ names: [name], chain: certificate, key }] }),
    ],
  ]);
const judged = (reference: Reference | undefined, { applied = new Map<string, string>(), nowMs = NOW } = {}) =>
  configuredCertificate({ relay: outbound, reference, applied }, nowMs);

describe("a certificate of one's own", () => {
  it('is served for the hostname, in lower case as clients ask for it', () => {
    const { serve, notAfterMs, problem } = judged(holding(good));
    assert.deepEqual(serve, { names: ['relay.example.test'], chain: good.certificate, key: good.key });
    assert.deepEqual([notAfterMs, problem], [NOW + CERTIFICATE_LIFE_MS, undefined]);
  });

  for (const [sentence, reference, reason, message] of [
    [
      'that is not there',
      () => ({ problem: 'There is no Secret mine.' }),
      'SecretNotFound',
      /^There is no Secret mine\./,
    ],
    [
      'without a key',
      () => ({ data: { 'tls.crt': good.certificate } }),
      'SecretIncomplete',
      /no tls.crt or no tls.key/,
    ],
    ['that is no PEM', () => ({ data: { 'tls.crt': 'x', 'tls.key': 'y' } }), 'CertificateInvalid', /Secret mine/],
    [
      'with the key of another',
      () => holding({ certificate: good.certificate, key: other.key }),
      'CertificateInvalid',
      /no certificate and its private key/,
    ],
    [
      'for another name',
      () => holding(other),
      'HostnameMismatch',
      /is for DNS:else\.example\.test, not for relay\.example\.test/,
    ],
  ] as const) {
    it(`${sentence} is told`, () => {
      const { serve, problem } = judged(reference());
      assert.equal(serve, undefined);
      assert.equal(problem?.reason, reason);
      assert.match(problem?.message ?? '', message);
      assert.equal(problem?.message.includes('PRIVATE KEY'), false);
    });

    it(`${sentence} does not take the place of the one that is served`, () => {
      const { serve, notAfterMs, problem } = judged(reference(), { applied: appliedWith(served) });
      assert.equal(serve?.chain, served.certificate);
      assert.equal(notAfterMs, NOW + 10 * DAY_MS);
      assert.equal(problem?.reason, reason);
      assert.match(
        problem?.message ?? '',
        /The one before is served meanwhile; it is valid until 2026-03-11T12:00:00Z\.$/,
      );
    });
  }

  it('that has expired is told', () => {
    const late = NOW + CERTIFICATE_LIFE_MS;
    const { problem, serve } = judged(holding(good), { nowMs: late, applied: appliedWith(good) });
    assert.equal(problem?.reason, 'CertificateExpired');
    assert.equal(serve?.chain, good.certificate, 'and served all the same: it is what there is');
  });

  it('that is not valid yet is told', () => {
    assert.equal(judged(holding(good), { nowMs: NOW - 2 * DAY_MS }).problem?.reason, 'CertificateNotYetValid');
  });

  it('of another name that was served before is not served for this one', () => {
    const applied = appliedWith(other, 'else.example.test');
    assert.equal(judged({ problem: 'It is gone.' }, { applied }).serve, undefined);
  });

  it('is of no interest where the private CA is asked for', () => {
    assert.deepEqual(
      configuredCertificate({ relay: relay('outbound'), reference: undefined, applied: new Map() }, NOW),
      {},
    );
  });
});
