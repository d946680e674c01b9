/** Several name servers, aliases and zones, by real DNS messages on loopback. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { MockDns } from '../../test/harness/dns.ts';
import type { Answer, QuestionType } from './lookup.ts';
import { givenServers, zoneServers } from './name-servers.ts';
import type { WantedRecord } from './records.ts';
import { verifying } from './verify.ts';

const DKIM: WantedRecord = {
  type: 'TXT',
  name: 'k1._domainkey.d.test',
  value: 'v=DKIM1; k=rsa; p=MIIBabc=',
  purpose: 'Dkim',
};
const SPF: WantedRecord = {
  type: 'TXT',
  name: 'd.test',
  value: 'v=spf1 ip4:192.0.2.10 include:o.test -all',
  purpose: 'Spf',
  addresses: ['192.0.2.10', '2001:db8::10'],
};

async function servers(t: TestContext, count: number): Promise<MockDns[]> {
  const started = await Promise.all(Array.from({ length: count }, () => MockDns.start()));
  t.after(() => Promise.all(started.map((dns) => dns[Symbol.asyncDispose]())));
  return started;
}

const txt = (name: string, ...data: readonly string[]) => ({ type: 'TXT', name, data }) as const;
const onAll = (all: readonly MockDns[]) => verifying(givenServers(all.map(({ address }) => address)));

describe('a key is', () => {
  it('Published when every server has it, in however many strings', async (t) => {
    const [one, two] = await servers(t, 2);
    assert.ok(one && two);
    one.add(txt(DKIM.name, DKIM.value));
    two.add(txt(DKIM.name, DKIM.value.slice(0, 9), DKIM.value.slice(9)));
    assert.deepEqual(await onAll([one, two])(DKIM), { state: 'Published' });
  });

  it('Missing while one server lacks it, which is named', async (t) => {
    const [one, two] = await servers(t, 2);
    assert.ok(one && two);
    one.add(txt(DKIM.name, DKIM.value));
    const look = await onAll([one, two])(DKIM);
    assert.deepEqual(look, { state: 'Missing', observed: `${two.address}: it is not there` });
  });

  it('Unknown while one server fails and the others have it', async (t) => {
    const [one, two] = await servers(t, 2);
    assert.ok(one && two);
    for (const dns of [one, two]) dns.add(txt(DKIM.name, DKIM.value));
    two.fail(DKIM.name, 'servfail');
    assert.deepEqual(await onAll([one, two])(DKIM), { state: 'Unknown', observed: `${two.address}: SERVFAIL` });
  });

  it('Unknown where a server answers with what is no DNS message', async (t) => {
    const [one] = await servers(t, 1);
    assert.ok(one);
    // The header is right, and then the message ends.
    one.fail(DKIM.name, (bytes) =>
      Buffer.concat([bytes.subarray(0, 2), Buffer.from([0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0])]),
    );
    const look = await onAll([one])(DKIM);
    assert.equal(look.state, 'Unknown');
  });

  it('Published through an alias', async (t) => {
    const [one] = await servers(t, 1);
    assert.ok(one);
    one.add({ type: 'CNAME', name: DKIM.name, data: 'k1.provider.test' }, txt('k1.provider.test', DKIM.value));
    assert.deepEqual(await onAll([one])(DKIM), { state: 'Published' });
  });
});

describe('an SPF record is', () => {
  const PASSES = 'v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:o.test -all';
  for (const [sentence, records, state, observed] of [
    ['Published where all addresses pass, whatever else it says', [txt('d.test', PASSES)], 'Published', /^$/],
    ['Missing where there is only other text', [txt('d.test', 'hello')], 'Missing', /^$/],
    [
      'Wrong where an address does not pass',
      [txt('d.test', 'v=spf1 ip4:192.0.2.10 include:o.test -all')],
      'Wrong',
      /^2001:db8::10 does not pass \(fail: -all of d\.test\): v=spf1/,
    ],
    [
      'Wrong where there are two',
      [txt('d.test', PASSES), txt('d.test', 'v=spf1 -all')],
      'Wrong',
      /2 SPF records; keep/,
    ],
    [
      'Wrong where it leaves out who else sends',
      [txt('d.test', PASSES.replace('include:o.test ', ''))],
      'Wrong',
      /^it leaves out include:o\.test/,
    ],
    [
      'Wrong where everybody passes',
      [txt('d.test', 'v=spf1 include:o.test +all')],
      'Wrong',
      /^\+all lets everybody send/,
    ],
    [
      'Wrong where it includes itself',
      [txt('d.test', 'v=spf1 include:d.test -all')],
      'Wrong',
      /more than 10 DNS lookups/,
    ],
  ] as const) {
    it(sentence, async (t) => {
      const [one] = await servers(t, 1);
      assert.ok(one);
      one.add(...records, txt('o.test', 'v=spf1 -all'));
      const look = await onAll([one])(SPF);
      assert.equal(look.state, state, look.observed ?? '');
      assert.match(look.observed ?? '', observed);
    });
  }

  it('Unknown where what it includes cannot be asked', async (t) => {
    const [one] = await servers(t, 1);
    assert.ok(one);
    one.add(txt('d.test', 'v=spf1 include:o.test -all')).fail('o.test', 'servfail');
    assert.deepEqual(await onAll([one])(SPF), { state: 'Unknown', observed: 'TXT o.test: SERVFAIL' });
  });
});

describe('the name servers of a zone', () => {
  /** The system's resolver by a table, and the zone's servers by their addresses. */
  function world(
    system: Readonly<Record<string, readonly string[] | 'SERVFAIL'>>,
    zone: Readonly<Record<string, Answer>>,
  ) {
    const asked: string[] = [];
    const resolver = async (type: QuestionType, name: string): Promise<Answer> => {
      const found = system[`${type} ${name}`];
      if (found === 'SERVFAIL') return { kind: 'Failed', why: 'SERVFAIL' };
      return found ? { kind: 'Found', values: found } : { kind: 'None' };
    };
    const at = (addresses: readonly string[]) => async (type: QuestionType, name: string) => {
      asked.push(`${addresses.join()} ${type} ${name}`);
      return zone[`${addresses.join()} ${type} ${name}`] ?? ({ kind: 'None' } as const);
    };
    return { verify: verifying(zoneServers(resolver, at)), asked };
  }
  const there: Answer = { kind: 'Found', values: [DKIM.value] };
  const SYSTEM = {
    'NS d.test': ['ns1.d.test', 'ns2.other.test'],
    'A ns1.d.test': ['192.0.2.1'],
    'A ns2.other.test': ['192.0.2.2'],
    'AAAA ns2.other.test': ['2001:db8::2'],
  };

  it('are asked each by itself, IPv4 first', async () => {
    const { verify, asked } = world(SYSTEM, {
      [`192.0.2.1 TXT ${DKIM.name}`]: there,
      [`192.0.2.2,2001:db8::2 TXT ${DKIM.name}`]: there,
    });
    assert.deepEqual(await verify(DKIM), { state: 'Published' });
    assert.deepEqual(asked, [`192.0.2.1 TXT ${DKIM.name}`, `192.0.2.2,2001:db8::2 TXT ${DKIM.name}`]);
  });

  it('must all have the key', async () => {
    const { verify } = world(SYSTEM, { [`192.0.2.1 TXT ${DKIM.name}`]: there });
    assert.deepEqual(await verify(DKIM), { state: 'Missing', observed: 'ns2.other.test: it is not there' });
  });

  it('are those of the zone that the name itself is in', async () => {
    const system = { ...SYSTEM, 'NS _domainkey.d.test': ['ns.keys.test'], 'A ns.keys.test': ['192.0.2.9'] };
    const { verify } = world(system, { [`192.0.2.9 TXT ${DKIM.name}`]: there });
    assert.deepEqual(await verify(DKIM), { state: 'Published' });
  });

  it('follow an alias to the servers of another zone', async () => {
    const system = { ...SYSTEM, 'NS d.test': ['ns1.d.test'], 'NS p.test': ['ns.p.test'], 'A ns.p.test': ['192.0.2.5'] };
    const { verify } = world(system, {
      [`192.0.2.1 CNAME ${DKIM.name}`]: { kind: 'Found', values: ['k1.p.test'] },
      '192.0.2.5 TXT k1.p.test': there,
    });
    assert.deepEqual(await verify(DKIM), { state: 'Published' });
  });

  it('are unknown where the system cannot be asked', async () => {
    const { verify } = world({ 'NS d.test': 'SERVFAIL' }, {});
    assert.deepEqual(await verify(DKIM), {
      state: 'Unknown',
      observed: 'no name server of d.test was found: SERVFAIL',
    });
  });

  it('that have no address leave it open', async () => {
    const { verify } = world({ ...SYSTEM, 'A ns1.d.test': [] }, { [`192.0.2.2,2001:db8::2 TXT ${DKIM.name}`]: there });
    assert.deepEqual(await verify(DKIM), { state: 'Unknown', observed: 'ns1.d.test: it has no address' });
  });
});
