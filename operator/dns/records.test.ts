import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { domain, relay } from '../../test/harness/manifests.ts';
import { dnsRecords } from './records.ts';
import { formatZone, splitText } from './zone.ts';

const relays = (...addresses: string[]) => [relay('outbound', { egress: { addresses } }).spec];
const text = (records: ReturnType<typeof dnsRecords>, name: string) =>
  records.filter((record) => record.type === 'TXT' && record.name === name).map(({ value }) => value);

describe('the records of a domain', () => {
  it('hold its keys, as RFC 6376 and RFC 8463 have them', () => {
    const records = dnsRecords({
      domain: domain('d', { domain: 'Example.Test' }).spec,
      relays: [],
      keys: [
        { selector: 'chasqui-r1', algorithm: 'RSA2048', publicKey: 'MIIB' },
        { selector: 'chasqui-e1', algorithm: 'Ed25519', publicKey: 'MCow' },
      ],
    });
    assert.deepEqual(text(records, 'chasqui-r1._domainkey.example.test'), ['v=DKIM1; k=rsa; p=MIIB']);
    assert.deepEqual(text(records, 'chasqui-e1._domainkey.example.test'), ['v=DKIM1; k=ed25519; p=MCow']);
  });

  for (const [sentence, spf, addresses, expected] of [
    [
      'allow the addresses of the relays',
      {},
      ['192.0.2.10', '2001:db8::10'],
      ['v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all'],
    ],
    [
      'allow what the domain includes',
      { include: ['mail.example'] },
      ['192.0.2.10'],
      ['v=spf1 ip4:192.0.2.10 include:mail.example -all'],
    ],
    ['say softly what to do with others', { all: 'SoftFail' }, ['192.0.2.10'], ['v=spf1 ip4:192.0.2.10 ~all']],
    ['say nothing about others', { all: 'Neutral' }, ['192.0.2.10'], ['v=spf1 ip4:192.0.2.10 ?all']],
    ['propose no SPF where no sender is known', {}, [], []],
  ] as const) {
    it(sentence, () => {
      const spec = { include: [], all: 'Fail' as const, ...spf };
      const input = {
        domain: domain('d', { spf: { ...spec, include: [...spec.include] } }).spec,
        relays: relays(...addresses),
        keys: [],
      };
      assert.deepEqual(text(dnsRecords(input), 'example.test'), expected);
    });
  }

  it('ask for reports', () => {
    const dmarc = { policy: 'Reject' as const, reportTo: ['a@example.test', 'b%c@example.test'] };
    const records = dnsRecords({ domain: domain('d', { dmarc }).spec, relays: [], keys: [] });
    assert.deepEqual(text(records, '_dmarc.example.test'), [
      'v=DMARC1; p=reject; rua=mailto:a@example.test,mailto:b%25c@example.test',
    ]);
  });

  it('name the relay, and let its bounces pass', () => {
    const records = dnsRecords({ domain: domain('d').spec, relays: relays('192.0.2.10', '2001:db8::10'), keys: [] });
    assert.deepEqual(
      records.filter(({ name }) => name === 'relay.example.test').map(({ type, value }) => `${type} ${value}`),
      ['A 192.0.2.10', 'AAAA 2001:db8::10', 'TXT v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all'],
    );
  });

  it('never have two SPF records at one name, though the relay is called like the domain', () => {
    const spec = relay('outbound', { hostname: 'example.test' }).spec;
    assert.equal(text(dnsRecords({ domain: domain('d').spec, relays: [spec], keys: [] }), 'example.test').length, 1);
  });

  it('come with advice on PTR', () => {
    assert.deepEqual(
      dnsRecords({ domain: domain('d').spec, relays: relays('192.0.2.10', '2001:db8::1'), keys: [] })
        .filter(({ type }) => type === 'PTR')
        .map(({ name, value }) => [name, value]),
      [
        ['10.2.0.192.in-addr.arpa', 'relay.example.test'],
        ['1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa', 'relay.example.test'],
      ],
    );
  });
});

describe('a zone file', () => {
  it('has absolute names, a time to live, and quoted text', () => {
    const zone = formatZone(
      [
        { type: 'A', name: 'relay.example.test', value: '192.0.2.10' },
        { type: 'TXT', name: 'example.test', value: 'v=spf1 -all' },
        { type: 'PTR', name: '10.2.0.192.in-addr.arpa', value: 'relay.example.test' },
      ],
      3600,
    );
    assert.equal(zone, 'relay.example.test. 3600 IN A 192.0.2.10\nexample.test. 3600 IN TXT "v=spf1 -all"\n');
  });

  it('escapes quotes, backslashes and what is not printable ASCII', () => {
    const zone = formatZone([{ type: 'TXT', name: 'x.test', value: 'a"b\\c;é' }], 60);
    assert.equal(zone, 'x.test. 60 IN TXT "a\\"b\\\\c;\\195\\169"\n');
  });

  it('splits text into strings of at most 255 bytes that together are the value', () => {
    const value = 'v=DKIM1; k=rsa; p='.padEnd(600, 'A');
    assert.deepEqual(
      splitText(value).map(({ length }) => length),
      [255, 255, 90],
    );
    assert.equal(splitText(value).join(''), value);
    assert.deepEqual(splitText(''), ['']);
  });
});
