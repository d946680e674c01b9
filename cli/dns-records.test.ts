import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition } from '../crds/common.ts';
import type { MailDomain, MailDomainStatus } from '../crds/maildomain.ts';
import { completeSpec } from '../crds/validate.ts';
import { advice, domainRecords, keyTable, recordTable } from './dns-records.ts';

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
  assert.deepEqual(domainRecords('example.test.', objects), { records: [SPF], keys: [], ttlSeconds: 300 });
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

const LOOKED = [
  { type: 'TXT', name: 'a.test', value: 'x', state: 'Published' },
  { type: 'TXT', name: 'b.test', value: 'x', state: 'Missing' },
  { type: 'TXT', name: 'c.test', value: 'x', state: 'Wrong', observed: 'v=spf1 -all' },
  { type: 'PTR', name: '1.2.0.192.in-addr.arpa', value: 'relay.test', state: 'Missing' },
  { type: 'TXT', name: 'd.test', value: 'x' },
] as const;

test('what DNS has is a column where it was looked at', () => {
  assert.match(recordTable(LOOKED), /^TYPE +NAME +STATE +VALUE$/m);
  assert.match(recordTable(LOOKED), /^TXT +c\.test +Wrong +x$/m);
  assert.match(recordTable(LOOKED), /^TXT +d\.test +unknown +x$/m);
  assert.match(recordTable(LOOKED.slice(4)), /^TYPE +NAME +VALUE$/m);
});

test('what is left to do is told of each record that is not as it should be, and of keys that retire', () => {
  const keys = [
    { selector: 'k1', algorithm: 'RSA2048', state: 'Retiring', retired: 'a', removedAfter: '2026-03-07T12:00:00Z' },
    { selector: 'k2', algorithm: 'RSA2048', state: 'Active', activated: '2026-03-01T12:00:00Z' },
  ] as const;
  assert.deepEqual(advice({ records: LOOKED, keys }), [
    'Publish TXT b.test.',
    'Correct TXT c.test. Found: v=spf1 -all',
    'Ask the owner of the address for 1.2.0.192.in-addr.arpa PTR relay.test.',
    'Leave the record of k1 until 2026-03-07T12:00:00Z.',
  ]);
  assert.match(keyTable(keys), /^k2 +RSA2048 +Active +2026-03-01T12:00:00Z$/m);
});
