import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition } from '../crds/common.ts';
import type { MailDomain, MailDomainStatus } from '../crds/maildomain.ts';
import { completeSpec } from '../crds/validate.ts';
import { domainRecords, recordTable } from './dns-records.ts';

const mailDomain = (domain: string, status?: MailDomainStatus, name = 'example'): MailDomain => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'MailDomain',
  metadata: { name, namespace: 'default', uid: 'u', generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: completeSpec('MailDomain', { domain, relayRefs: [{ name: 'outbound' }], dns: { ttl: '5m' } }),
  ...(status && { status }),
});
const SPF = { type: 'TXT', name: 'example.test', value: 'v=spf1 ip4:192.0.2.10 -all' };
const refused: Condition = {
  type: 'Accepted',
  status: 'False',
  reason: 'DomainHeld',
  message: 'example.test is held by default/other',
  observedGeneration: 1,
  lastTransitionTime: '2026-01-01T00:00:00Z',
};

test('a domain is found in any spelling, with its time to live', () => {
  const objects = [
    mailDomain('Example.TEST', { dnsRecords: [SPF] }),
    mailDomain('xn--bcher-kva.test', { dnsRecords: [SPF] }),
  ];
  assert.deepEqual(domainRecords('example.test.', objects), { records: [SPF], ttlSeconds: 300 });
  assert.equal(domainRecords('bücher.test', objects).records.length, 1);
});

test('of two MailDomains for a domain the one in force has the records', () => {
  const objects = [
    mailDomain('example.test', { conditions: [refused] }, 'b'),
    mailDomain('example.test', { dnsRecords: [SPF] }),
  ];
  assert.deepEqual(domainRecords('example.test', objects).records, [SPF]);
});

test('a domain without records tells why', () => {
  assert.throws(
    () => domainRecords('other.test', [mailDomain('example.test')]),
    /no MailDomain is for other.test; there are: example.test/,
  );
  assert.throws(() => domainRecords('other.test', []), /there are: none/);
  assert.throws(() => domainRecords('example.test', [mailDomain('example.test')]), /no records yet/);
  assert.throws(
    () => domainRecords('example.test', [mailDomain('example.test', { conditions: [refused] })]),
    /not in force: example.test is held/,
  );
});

test('a text longer than 255 bytes is shown as its strings', () => {
  const text = recordTable([
    { type: 'TXT', name: 'a.test', value: 'x'.repeat(300) },
    { type: 'TXT', name: 'b.test', value: 'short' },
  ]);
  assert.match(text, /"x{255}" "x{45}"$/m);
  assert.match(text, / short$/m);
});
