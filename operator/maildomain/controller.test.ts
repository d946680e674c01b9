import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { before, describe, it } from 'node:test';
import type { MailDomain } from '../../crds/maildomain.ts';
import { firstKeys } from '../../test/harness/dkim-keys.ts';
import { domain, relay } from '../../test/harness/manifests.ts';
import type { Secret } from '../backend.ts';
import { type ObservedDomain, planDomain } from './controller.ts';
import { domainDocument, judgeKeys, type StoredKey, slotOf } from './dkim-keys.ts';
import { domainHolders } from './policies.ts';

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
  const relayExists = ({ name }: { name: string }): boolean => name === 'outbound';
  return {
    domain: object,
    world: { relayExists, holders: domainHolders([object], relayExists) },
    relays: [relay('outbound', { egress: { addresses } })],
    views: [{ name: 'outbound', replicas: [], groups: new Map() }],
    storedKeys: stored(object, keySecrets),
    looks: new Map(),
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
