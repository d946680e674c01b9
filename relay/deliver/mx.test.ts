import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Dns, DnsFailure, type MxRecord } from './dns.ts';
import { findMx, hasNullMx, type MxAnswer } from './mx.ts';

const SELF = 'relay.example.test';

function dnsWith(zone: Record<string, readonly MxRecord[] | DnsFailure['kind']>): Dns {
  return {
    mx: async (domain) => {
      const answer = zone[domain] ?? 'no-domain';
      if (typeof answer === 'string') throw new DnsFailure(answer, domain);
      return answer;
    },
    addresses: async (host) => [`address of ${host}`],
    systemAddresses: async () => assert.fail('MX hosts are not asked of the system'),
    close: () => undefined,
  };
}

const dns = dnsWith({
  'two.test': [
    { exchange: 'backup.test', priority: 20 },
    { exchange: 'main.test', priority: 10 },
  ],
  'equal.test': [
    { exchange: 'a.test', priority: 10 },
    { exchange: 'b.test', priority: 10 },
    { exchange: 'last.test', priority: 20 },
  ],
  'implicit.test': 'no-data',
  'null.test': [{ exchange: '', priority: 0 }],
  'half-null.test': [
    { exchange: '', priority: 0 },
    { exchange: 'main.test', priority: 10 },
  ],
  'slow.test': 'temporary',
  'backup-of.test': [
    { exchange: 'main.test', priority: 10 },
    { exchange: 'Relay.Example.Test', priority: 20 },
    { exchange: 'peer.test', priority: 20 },
    { exchange: 'worse.test', priority: 30 },
  ],
  'ours.test': [{ exchange: SELF, priority: 10 }],
});

const shown = (answer: MxAnswer): readonly string[] | string =>
  'reply' in answer ? `${answer.reply.code} ${answer.reply.enhanced}` : answer.hosts.map(({ host }) => host);

for (const [what, domain, expected] of [
  ['hosts are tried by preference', 'two.test', ['main.test', 'backup.test']],
  ['a domain without MX is its own', 'implicit.test', ['implicit.test']],
  ['a null MX takes no mail', 'null.test', '556 5.1.10'],
  ['a null MX beside others is void', 'half-null.test', ['main.test']],
  ['a domain that does not exist bounces', 'nowhere.test', '550 5.1.2'],
  ['a resolver that fails defers', 'slow.test', '451 4.4.3'],
  ['we, our equals and those behind us are left out', 'backup-of.test', ['main.test']],
  ['mail that only we would take loops', 'ours.test', '554 5.4.6'],
  ['an IPv4 literal is its own host', '[127.0.0.1]', ['[127.0.0.1]']],
  ['an IPv6 literal is its own host', '[ipv6:::1]', ['[ipv6:::1]']],
  ['a bad literal bounces', '[127.0.0]', '550 5.1.2'],
  ['an IPv6 literal needs its tag', '[::1]', '550 5.1.2'],
] as const) {
  test(what, async () => assert.deepEqual(shown(await findMx(dns, domain, SELF, () => 0.5)), expected));
}

test('hosts of equal preference take turns', async () => {
  const draws = [0.9, 0.1, 0.5];
  const answer = await findMx(dns, 'equal.test', SELF, () => draws.shift() ?? 0);
  assert.deepEqual(shown(answer), ['b.test', 'a.test', 'last.test']);
});

test('addresses are looked up host by host, a literal has its own', async () => {
  for (const [domain, expected] of [
    ['two.test', 'address of main.test'],
    ['[ipv6:::1]', '::1'],
  ] as const) {
    const answer = await findMx(dns, domain, SELF, () => 0.5);
    assert('hosts' in answer);
    assert.deepEqual(await answer.hosts[0]?.addresses(), [expected]);
  }
});

test('RCPT learns of a null MX, and of nothing else', async () => {
  for (const [domain, expected] of [
    ['null.test', true],
    ['two.test', false],
    ['nowhere.test', false],
    ['slow.test', false],
  ] as const) {
    assert.equal(await hasNullMx(dns, domain, 1_000), expected, domain);
  }
});

test('a resolver that never answers does not hold a RCPT up', async () => {
  const silent = { ...dns, mx: () => Promise.withResolvers<readonly MxRecord[]>().promise };
  assert.equal(await hasNullMx(silent, 'two.test', 1), false);
});
