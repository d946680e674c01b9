import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { before, describe, it } from 'node:test';
import type { MailDomain } from '../../crds/maildomain.ts';
import { firstKeys, makeKey } from '../../test/harness/dkim-keys.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay } from '../../test/harness/manifests.ts';
import type { Secret } from '../backend.ts';
import { type ObservedDomain, planDomain } from './controller.ts';
import { domainDocument, goesWithItsDomain, judgeKeys, keySlot, type StoredKey, slotOf } from './dkim-keys.ts';

const created = '2026-03-01T12:00:00Z';
const clock = (): number => Date.parse(created);

const made = async (object: MailDomain): Promise<Secret[]> =>
  (await firstKeys(object, clock())).map(({ secret }) => secret);

const stored = (object: MailDomain, secrets: readonly Secret[]): StoredKey[] =>
  secrets.flatMap((secret) => {
    const slot = slotOf(object.metadata, secret);
    return slot ? [{ slot, secret }] : [];
  });

function observed(object: MailDomain, keySecrets: readonly Secret[], addresses = ['192.0.2.10']): ObservedDomain {
  return {
    domain: object,
    world: worldOf([object]),
    relays: [relay('outbound', { egress: { addresses } })],
    views: [{ name: 'outbound', replicas: [], groups: new Map() }],
    storedKeys: stored(object, keySecrets),
    ownKeys: [],
    looks: new Map(),
    publication: 'Unavailable',
  };
}

const unsigned = domain('example', { dkim: { ...domain('example').spec.dkim, algorithms: [] } });

const reasonsOf = (input: ObservedDomain): Record<string, string> =>
  Object.fromEntries((planDomain(input, clock).status?.conditions ?? []).map(({ type, reason }) => [type, reason]));

describe('the plan of a MailDomain', () => {
  const object = domain('example');
  let keys: Secret[];
  before(async () => {
    keys = await made(object);
  });

  it('makes a key for each algorithm, RSA first, one Secret each', () => {
    const plan = planDomain(observed(object, []), clock);
    assert.deepEqual(
      plan.create?.map(({ name, annotations }) => [name, annotations]),
      [
        ['example-dkim-chasqui-r1', { algorithm: 'RSA2048', created, domain: 'example.test', selector: 'chasqui-r1' }],
        ['example-dkim-chasqui-e1', { algorithm: 'Ed25519', created, domain: 'example.test', selector: 'chasqui-e1' }],
      ],
    );
  });

  it('makes only the key that is missing', () => {
    const plan = planDomain(observed(object, keys.slice(0, 1)), clock);
    assert.deepEqual(
      plan.create?.map(({ name }) => name),
      ['example-dkim-chasqui-e1'],
    );
  });

  it('makes nothing once the keys are there, and says what to publish', () => {
    const plan = planDomain(observed(object, keys), clock);
    assert.deepEqual(plan.create, []);
    assert.deepEqual(plan.status?.dkim?.keys, [
      { selector: 'chasqui-r1', algorithm: 'RSA2048', state: 'Active', created, activated: created },
      { selector: 'chasqui-e1', algorithm: 'Ed25519', state: 'Active', created, activated: created },
    ]);
    assert.deepEqual(
      plan.status?.dnsRecords?.map(({ type, name }) => `${type} ${name}`),
      [
        'TXT chasqui-r1._domainkey.example.test',
        'TXT chasqui-e1._domainkey.example.test',
        'TXT example.test',
        'TXT _dmarc.example.test',
        'A relay.example.test',
        'TXT relay.example.test',
        'PTR 10.2.0.192.in-addr.arpa',
      ],
    );
  });

  it('publishes the public half of each key, as a verifier reads it', () => {
    const { ready } = judgeKeys(object, stored(object, keys));
    const [rsa, ed25519] = ready;
    assert.ok(rsa && ed25519);
    const spki = createPublicKey({ key: Buffer.from(rsa.publicKey, 'base64'), format: 'der', type: 'spki' });
    assert.equal(spki.asymmetricKeyDetails?.modulusLength, 2048);
    assert.ok(spki.equals(createPublicKey(rsa.privateKey)));
    const x = Buffer.from(ed25519.publicKey, 'base64');
    assert.equal(x.length, 32);
    assert.equal(createPublicKey(ed25519.privateKey).export({ format: 'jwk' }).x, x.toString('base64url'));
  });

  for (const [sentence, type, reason, input] of [
    ['is not DkimReady while keys are made', 'DkimReady', 'KeysMissing', () => observed(object, [])],
    ['is DkimReady with its keys', 'DkimReady', 'KeysReady', () => observed(object, keys)],
    ['is DkimReady unsigned where no algorithm is asked for', 'DkimReady', 'NotSigned', () => observed(unsigned, [])],
    [
      'takes no key that was made for another domain',
      'DkimReady',
      'SecretConflict',
      () => observed(domain('example', { domain: 'other.test' }), keys),
    ],
    [
      'takes no Secret of another object',
      'DkimReady',
      'SecretConflict',
      () =>
        observed(
          object,
          keys.map((key) => ({ ...key, owner: { ...key.owner, name: 'other' } })),
        ),
    ],
    [
      'takes up the keys of a deleted MailDomain of its name and domain',
      'DkimReady',
      'KeysReady',
      () => observed(domain('example', {}, { uid: 'another' }), keys),
    ],
    [
      'never writes over a key that cannot be read',
      'DkimReady',
      'KeyDamaged',
      () =>
        observed(
          object,
          keys.map((key) => ({ ...key, data: { 'private.pem': 'gone' } })),
        ),
    ],
    ['does not look into DNS, and says so', 'DnsVerified', 'VerificationDisabled', () => observed(object, keys)],
    ['has no complete SPF without a known sender', 'SpfIncomplete', 'NoSenderKnown', () => observed(object, keys, [])],
    ['says nothing of SPF where it is complete', 'SpfIncomplete', undefined, () => observed(object, keys)],
    ['is not Programmed without a ready replica', 'Programmed', 'NoReadyReplica', () => observed(object, keys)],
  ] as const) {
    it(sentence, () => {
      const conditions = reasonsOf(input());
      assert.equal(conditions[type], reason);
      const plan = planDomain(input(), clock);
      if (reason === 'SecretConflict' || reason === 'KeyDamaged') assert.deepEqual(plan.create, []);
    });
  }

  it('makes no keys and tells no records for a domain that is refused', () => {
    const plan = planDomain(observed(domain('example', { relayRefs: [{ name: 'lost' }] }), []), clock);
    assert.deepEqual(plan.create, []);
    assert.equal(plan.status?.dnsRecords, undefined);
  });

  it('tells relays to hold its mail while it has no key, and to send it unsigned only where that is asked for', () => {
    assert.deepEqual(domainDocument(object, []).dkim, { sign: true, keys: [] });
    assert.deepEqual(domainDocument(unsigned, []).dkim, { sign: false, keys: [] });
  });
});

describe('what DNS has', () => {
  const verified = (verification: 'Required' | 'Observe'): MailDomain =>
    domain('example', { dns: { ...domain('example').spec.dns, verification } });
  const object = verified('Required');
  let keys: Secret[];
  before(async () => {
    keys = await made(object);
  });

  type Seen = ObservedDomain['looks'] extends ReadonlyMap<string, infer Each> ? Each : never;
  const OWN = /_domainkey|^TXT example|_dmarc/;
  /** Records by type and name, as the plan without any look tells them, with what DNS has. */
  function looks(given: MailDomain, seen: (record: string) => Seen | undefined): ObservedDomain['looks'] {
    const records = planDomain(observed(given, keys), clock).status?.dnsRecords ?? [];
    return new Map(
      records.flatMap(({ type, name, value }) => {
        const state = seen(`${type} ${name}`);
        return state ? [[`${type} ${name} ${value}`, state] as const] : [];
      }),
    );
  }
  const planOf = (given: MailDomain, seen: (record: string) => Seen | undefined) =>
    planDomain({ ...observed(given, keys), looks: looks(given, seen) }, clock);
  const conditionOf = (plan: ReturnType<typeof planDomain>, type: string) =>
    plan.status?.conditions?.find((condition) => condition.type === type);
  const keyStates = (plan: ReturnType<typeof planDomain>) =>
    plan.status?.dkim?.keys.map(({ selector, state }) => `${selector} ${state}`).join(', ');
  const ALL = (): Seen => ({ state: 'Published' });

  it('is not known at first, and no key signs', () => {
    const plan = planOf(object, () => undefined);
    assert.equal(keyStates(plan), 'chasqui-r1 Publishing, chasqui-e1 Publishing');
    assert.equal(conditionOf(plan, 'DnsVerified')?.status, 'Unknown');
    assert.equal(conditionOf(plan, 'DkimReady')?.reason, 'WaitingForDns');
    assert.equal(plan.status?.dnsRecords?.[0]?.state, undefined);
  });

  it('lets the keys sign once it has them', () => {
    const plan = planOf(object, ALL);
    assert.equal(keyStates(plan), 'chasqui-r1 Active, chasqui-e1 Active');
    assert.deepEqual(
      [conditionOf(plan, 'DnsVerified')?.status, conditionOf(plan, 'DkimReady')?.status],
      ['True', 'True'],
    );
    assert.deepEqual(
      plan.events?.map(({ reason }) => reason),
      ['DkimKeyActive', 'DkimKeyActive'],
    );
  });

  it('says in full what is wrong, and what is missing', () => {
    const plan = planOf(object, (record) => {
      if (record.startsWith('TXT _dmarc')) return { state: 'Missing' };
      return record === 'TXT example.test' ? { state: 'Wrong', observed: 'v=spf1 -all' } : ALL();
    });
    const { status, reason, message } = conditionOf(plan, 'DnsVerified') ?? {};
    assert.deepEqual([status, reason], ['False', 'RecordsWrong']);
    assert.equal(
      message,
      'TXT example.test is wrong: v=spf1 -all; TXT _dmarc.example.test is missing. status.dnsRecords tells what to publish.',
    );
    assert.equal(conditionOf(plan, 'Ready')?.reason, 'RecordsWrong');
  });

  it('keeps a domain from Ready where it is required, and only there', () => {
    const none = (): Seen => ({ state: 'Missing' });
    assert.equal(conditionOf(planOf(object, none), 'Ready')?.reason, 'WaitingForDns');
    const plan = planOf(verified('Observe'), none);
    assert.equal(keyStates(plan), 'chasqui-r1 Active, chasqui-e1 Active');
    assert.equal(conditionOf(plan, 'DnsVerified')?.reason, 'RecordsMissing');
    assert.equal(conditionOf(plan, 'Ready')?.reason, 'NoReadyReplica');
  });

  it('is told of the host names of relays, and does not count: they are of another zone', () => {
    const plan = planOf(object, (record) => (OWN.test(record) ? ALL() : { state: 'Missing' }));
    const { status, message = '' } = conditionOf(plan, 'DnsVerified') ?? {};
    assert.equal(status, 'True');
    assert.match(message, /A relay\.example\.test is missing, TXT relay\.example\.test is missing, PTR 10\.2\.0/);
    assert.equal(plan.status?.dnsRecords?.find(({ type }) => type === 'PTR')?.state, 'Missing');
  });

  const settled = (): MailDomain => ({ ...object, status: planOf(object, ALL).status ?? {} });

  it('is kept over a restart, and nothing is written then', () => {
    const before = settled();
    const plan = planOf(before, () => undefined);
    assert.deepEqual(plan.status, before.status);
    assert.deepEqual(plan.events, []);
  });

  it('is kept while it does not answer, and the keys go on signing', () => {
    const before = settled();
    const plan = planOf(before, () => ({ problem: 'SERVFAIL' }));
    assert.deepEqual(plan.status, before.status);
  });

  it('stops no key by losing it, and says so', () => {
    const before = settled();
    const plan = planOf(before, (record) => (record.includes('-r1.') ? { state: 'Missing' } : ALL()));
    assert.equal(keyStates(plan), 'chasqui-r1 Active, chasqui-e1 Active');
    assert.equal(conditionOf(plan, 'DnsVerified')?.reason, 'RecordsMissing');
    assert.deepEqual(
      plan.events?.map(({ type, reason }) => `${type} ${reason}`),
      ['Warning DnsRecordMissing'],
    );
  });

  it('of a key that was deleted by hand and made anew counts for the new one alone', async () => {
    const before = settled();
    const anew = await makeKey(before, keySlot(before, 'RSA2048', 1), clock() + 60_000);
    const input = observed(before, [anew.secret, ...keys.slice(1)]);
    const plan = planDomain(input, clock);
    assert.equal(keyStates(plan), 'chasqui-r1 Publishing, chasqui-e1 Active');
  });
});

describe('a rotation', () => {
  const object = domain('example', {}, { annotations: { 'chasqui.dev/rotate-dkim': 'today' } });
  const HOUR_MS = 3_600_000;
  let keys: Secret[];
  before(async () => {
    keys = await made(domain('example'));
  });
  const active: MailDomain['status'] = {
    dkim: {
      keys: (['RSA2048', 'Ed25519'] as const).map((algorithm) => ({
        selector: algorithm === 'RSA2048' ? 'chasqui-r1' : 'chasqui-e1',
        algorithm,
        state: 'Active',
        created,
        activated: created,
      })),
    },
  };

  it('makes the next keys, which say what asked for them, while the others go on signing', () => {
    const plan = planDomain(observed({ ...object, status: active }, keys), clock);
    assert.deepEqual(
      plan.create?.map(({ name, annotations }) => [name, annotations.request]),
      [
        ['example-dkim-chasqui-r2', 'today'],
        ['example-dkim-chasqui-e2', 'today'],
      ],
    );
    assert.deepEqual(plan.status?.dkim, active?.dkim);
  });

  it('keeps a retired key published for a day longer than the relay keeps mail, however short it is wished', () => {
    const retired: MailDomain['status'] = {
      dkim: { keys: (active?.dkim?.keys ?? []).map((key) => ({ ...key, state: 'Retiring', retired: created })) },
    };
    const spec = { ...object.spec.dkim, algorithms: [], rotation: { publishFor: '1h', retireAfter: '1h' } };
    const unsigned = { ...domain('example', { dkim: spec }), status: retired };
    const after = (hours: number) => planDomain(observed(unsigned, keys), () => clock() + hours * HOUR_MS);
    assert.deepEqual(after(143).delete, []);
    assert.equal(after(143).status?.dkim?.keys[0]?.removedAfter, '2026-03-07T12:00:00Z');
    assert.equal(after(143).againMs, HOUR_MS);
    assert.ok(after(143).status?.dnsRecords?.some(({ name }) => name.startsWith('chasqui-r1.')));
    assert.deepEqual(after(144).delete, [
      { namespace: 'default', name: 'example-dkim-chasqui-r1' },
      { namespace: 'default', name: 'example-dkim-chasqui-e1' },
    ]);
    assert.equal(after(144).status?.dkim?.keys.length, 0);
    assert.ok(!after(144).status?.dnsRecords?.some(({ name }) => name.includes('_domainkey')));
  });
});

describe('what external-dns is to publish', () => {
  const published = (dns: Partial<MailDomain['spec']['dns']> = {}): MailDomain =>
    domain('example', { dns: { ...domain('example').spec.dns, publisher: 'ExternalDNS', ...dns } });
  let keys: Secret[];
  before(async () => {
    keys = await made(domain('example'));
  });
  const planOf = (given: MailDomain, publication: ObservedDomain['publication']) =>
    planDomain({ ...observed(given, keys), publication }, clock);
  const reasonOf = (plan: ReturnType<typeof planDomain>) =>
    plan.status?.conditions?.find(({ type }) => type === 'DnsPublished')?.reason;

  it('are names of our own', () => {
    const { publish } = planOf(published(), 'None');
    assert.deepEqual(
      publish?.records.map(({ name }) => name),
      ['chasqui-r1._domainkey.example.test', 'chasqui-e1._domainkey.example.test', '_dmarc.example.test'],
    );
    assert.equal(publish?.ttlSeconds, 3600);
    assert.equal(publish?.outlives, true);
  });

  it('is the domain itself only where that is wished', () => {
    const { publish } = planOf(published({ publishApex: true }), 'None');
    assert.deepEqual(
      publish?.records.filter(({ name }) => name === 'example.test').map(({ value }) => value),
      ['v=spf1 ip4:192.0.2.10 -all'],
    );
  });

  it('is nothing of a domain that is refused', () => {
    const refused = { ...published(), spec: { ...published().spec, relayRefs: [{ name: 'lost' }] } };
    assert.equal(planOf(refused, 'None').publish, undefined);
  });

  for (const [sentence, state, reason] of [
    ['says so where nobody publishes', 'Unavailable', 'NobodyPublishes'],
    ['says so where another has the name', 'NameTaken', 'NameTaken'],
    ['says so while external-dns has not read it', 'Waiting', 'NotRead'],
    ['says so once it has', 'Read', 'Read'],
  ] as const) {
    it(sentence, () => assert.equal(reasonOf(planOf(published(), state)), reason));
  }

  it('is taken away when a person publishes again', () => {
    const plan = planOf(domain('example'), 'Read');
    assert.deepEqual(plan.unpublish, { namespace: 'default', name: 'example' });
    assert.equal(plan.publish, undefined);
    assert.equal(reasonOf(plan), undefined);
    assert.equal(planOf(domain('example'), 'None').unpublish, undefined);
  });
});

describe('keys that go with their MailDomain', () => {
  const withDeletion = (deletionPolicy: 'Retain' | 'Delete'): MailDomain =>
    domain('example', { dkim: { ...domain('example').spec.dkim, deletionPolicy } });

  it('say so in their Secrets, by which alone it is known once it is gone', async () => {
    const [kept, going] = [await made(withDeletion('Retain')), await made(withDeletion('Delete'))];
    assert.deepEqual(kept.map(goesWithItsDomain), [false, false]);
    assert.deepEqual(going.map(goesWithItsDomain), [true, true]);
    assert.deepEqual(planDomain(observed(withDeletion('Retain'), kept), clock).apply, []);
    assert.deepEqual(planDomain(observed(withDeletion('Delete'), going), clock).apply, []);
  });

  it('say so after an edit, with the same key in them', async () => {
    const keys = await made(withDeletion('Retain'));
    const [first] = planDomain(observed(withDeletion('Delete'), keys), clock).apply ?? [];
    assert.ok(first && 'data' in first);
    assert.ok(goesWithItsDomain(first));
    assert.deepEqual(first.data, keys[0]?.data);
    const back = planDomain(observed(withDeletion('Retain'), [first]), clock).apply ?? [];
    assert.deepEqual(back, [keys[0]]);
  });
});
