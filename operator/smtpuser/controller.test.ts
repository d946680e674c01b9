import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay, user } from '../../test/harness/manifests.ts';
import type { Secret } from '../backend.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { type CertifiedKey, makeCA } from '../smtprelay/pki.ts';
import { type ObservedUser, planUser } from './controller.ts';
import { newPassword } from './credential.ts';
import { userDocument } from './user-document.ts';
import { readVerifiers } from './verifier.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const clock = (): number => NOW;
const outbound = relay('outbound');
let pair: CertifiedKey;
before(async () => {
  pair = await makeCA('Chasqui CA outbound 1', NOW);
});

const caSecret = (): Secret => ({
  namespace: 'default',
  name: 'outbound-ca',
  owner: { kind: 'SmtpRelay', name: 'outbound', uid: 'uid-of-outbound' },
  purpose: 'ca',
  annotations: {},
  data: { 'ca.crt': pair.certificate, 'ca.key': pair.key },
});

function observed(object: SmtpUser, more: Partial<ObservedUser> = {}): ObservedUser {
  const domains = [
    domain('example'),
    domain('elsewhere', { domain: 'elsewhere.test' }, { namespace: 'other' }),
    domain('detached', { domain: 'detached.test', relayRefs: [{ name: 'lost' }] }),
  ];
  return {
    user: object,
    world: worldOf(domains),
    relay: outbound,
    view: { name: 'outbound', replicas: [], groups: new Map() },
    submissionHost: 'localhost',
    ca: caSecret(),
    credential: undefined,
    verifier: undefined,
    former: undefined,
    password: undefined,
    ...more,
  };
}

async function generated(entry: Secret | SecretRecipe | undefined): Promise<Secret> {
  assert.ok(entry);
  if ('data' in entry) return entry;
  const { generate, ...identity } = entry;
  return { ...identity, data: await generate() };
}
const condition = (input: ObservedUser, type: string) =>
  planUser(input, clock).status?.conditions?.find((each) => each.type === type);

describe('an SmtpUser', () => {
  for (const [sentence, senders, expected] of [
    ['may send as its domain', ['*@example.test'], 'Accepted'],
    ['may send as an address of it, in any case', ['Bob@EXAMPLE.test'], 'Accepted'],
    ['may not send as a subdomain', ['*@sub.example.test'], 'SenderNotAllowed'],
    ['may not send as a domain of another namespace', ['*@elsewhere.test'], 'SenderNotAllowed'],
    ['may not send as a domain that is refused', ['*@detached.test'], 'SenderNotAllowed'],
    ['may not send as anything when one sender is refused', ['*@example.test', 'a@b.test'], 'SenderNotAllowed'],
  ] as const) {
    it(sentence, () => {
      const accepted = condition(observed(user('app', { senders: [...senders] })), 'Accepted');
      assert.equal(accepted?.reason, expected);
      if (expected !== 'Accepted') assert.ok(accepted?.message.includes(senders.at(-1) ?? ''));
    });
  }

  it('needs a relay that exists', () => {
    assert.equal(condition(observed(user('app', { relayRef: { name: 'lost' } })), 'Accepted')?.reason, 'RelayNotFound');
  });

  it('is told to relays with its limits, and without what does not limit it', () => {
    const verifier = { salt: 's', iterations: 4_096, storedKey: 'k', serverKey: 'k' };
    const free = { username: 'app.default', senders: ['*@example.test'], verifier };
    assert.deepEqual(userDocument(user('app'), { verifier }), free);
    const limits = { quota: { recipientsPerDay: 9 }, allowedNetworks: ['192.0.2.0/24'], suspended: true };
    assert.deepEqual(userDocument(user('app', limits), { verifier }), { ...free, ...limits });
  });

  it('may not call its credential like its verifier', () => {
    const input = observed(user('app', { secret: { name: 'app-verifier' } }));
    assert.equal(condition(input, 'Accepted')?.reason, 'SecretConflict');
  });
});

describe('the credential of a user', () => {
  it('has a password that no program takes for an option', () => {
    // One in 64 would begin with a dash by chance.
    const starts = new Set(Array.from({ length: 5_000 }, () => newPassword()[0]));
    assert.equal(starts.has('-'), false);
    assert.equal(starts.size, 63);
  });

  it('is created once, with a password of 256 random bits and exactly the keys that clients read', async () => {
    const plan = planUser(observed(user('app')), clock);
    const { name, data } = await generated(plan.create?.[0]);
    assert.equal(name, 'app-smtp');
    const { password = '', 'ca.crt': ca, ...facts } = data;
    assert.match(password, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(ca, pair.certificate);
    const uri = `smtps://app.default:${password}@localhost:2465`;
    assert.deepEqual(facts, {
      host: 'localhost',
      port: '2465',
      username: 'app.default',
      uri,
      tls: 'implicit',
      type: 'smtp',
      provider: 'chasqui',
      SMTP_HOST: 'localhost',
      SMTP_PORT: '2465',
      SMTP_USERNAME: 'app.default',
      SMTP_PASSWORD: password,
      SMTP_URL: uri,
      SMTP_TLS: 'implicit',
    });
  });

  it('leads to the first listener with STARTTLS where there is none with TLS from the first byte', async () => {
    const listener = { protocol: 'Submission' as const, auth: { exemptNetworks: [] }, proxyProtocol: { from: [] } };
    const starttls = relay('outbound', {
      listeners: [
        { ...listener, name: 'local', port: 2525, tls: 'Optional' },
        { ...listener, name: 'submission', port: 2587, tls: 'Required' },
      ],
    });
    const { data } = await generated(planUser(observed(user('app'), { relay: starttls }), clock).create?.[0]);
    assert.deepEqual([data.port, data.tls, data.uri?.slice(0, 7)], ['2587', 'starttls', 'smtp://']);
  });

  it('waits for the certificate of the relay', () => {
    const input = observed(user('app'), { ca: undefined });
    assert.equal(condition(input, 'CredentialReady')?.reason, 'WaitingForCertificate');
    assert.equal(planUser(input, clock).create, undefined);
  });

  it('follows the relay to another port and keeps its password', async () => {
    const credential = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const [submission, submissions] = outbound.spec.listeners;
    assert.ok(submission && submissions);
    const moved = relay('outbound', { listeners: [submission, { ...submissions, port: 4465 }] });
    const plan = planUser(observed(user('app'), { relay: moved, credential }), clock);
    assert.equal(plan.create, undefined);
    const applied = await generated(plan.apply?.[0]);
    assert.equal(applied.data.port, '4465');
    assert.equal(applied.data.password, credential.data.password);
  });

  it('gets a verifier, which is kept from then on', async () => {
    const credential = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const verifier = await generated(planUser(observed(user('app'), { credential }), clock).apply?.[0]);
    assert.equal(verifier.name, 'app-verifier');
    assert.equal(readVerifiers(user('app'), verifier)?.verifier.iterations, 4096);
    const steady = planUser(observed(user('app'), { credential, verifier }), clock);
    assert.deepEqual(steady.apply, [], 'nothing is written over what somebody may be editing');
    const edited = { ...credential, data: { ...credential.data, password: 'by-hand' } };
    const remade = await generated(planUser(observed(user('app'), { credential: edited, verifier }), clock).apply?.[1]);
    assert.equal(readVerifiers(user('app'), remade)?.verifier.iterations, 100_000);
  });

  it('waits for a password that is being written, and neither makes one nor writes over it', async () => {
    const { data, ...identity } = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const input = observed(user('app'), { credential: { ...identity, data: { ...data, password: '' } } });
    const { create, apply, delete: gone } = planUser(input, clock);
    assert.deepEqual([create, apply, gone], [undefined, undefined, undefined]);
    assert.equal(condition(input, 'CredentialReady')?.reason, 'PasswordEmpty');
  });

  it('moves with its password when the Secret gets another name; the old one goes once the new one is there', async () => {
    const former = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const renamed = user('app', { secret: { name: 'mail' } }, {}, { secretName: 'app-smtp' });
    const first = planUser(observed(renamed, { former }), clock);
    assert.deepEqual(first.delete, []);
    assert.equal(first.status?.secretName, 'app-smtp');
    const credential = await generated(first.create?.[0]);
    assert.equal(credential.name, 'mail');
    assert.equal(credential.data.password, former.data.password);
    const second = planUser(observed(renamed, { former, credential }), clock);
    assert.deepEqual(
      second.delete?.map(({ name }) => name),
      ['app-smtp'],
    );
    assert.equal(second.status?.secretName, 'mail');
  });

  it('is never written over a Secret of someone else', async () => {
    const credential = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const foreign = { ...credential, owner: { ...credential.owner, name: 'other' } };
    const input = observed(user('app'), { credential: foreign });
    const plan = planUser(input, clock);
    assert.deepEqual([plan.create, plan.apply, plan.delete], [undefined, undefined, undefined]);
    assert.equal(condition(input, 'CredentialReady')?.reason, 'SecretConflict');
    assert.equal(condition(input, 'Ready')?.reason, 'SecretConflict');
  });

  it('of a deleted user of the same name is not taken over: its password must not work on', async () => {
    const left = await generated(planUser(observed(user('app')), clock).create?.[0]);
    const plan = planUser(observed(user('app', {}, { uid: 'another' }), { credential: left }), clock);
    assert.deepEqual(
      plan.delete?.map(({ name }) => name),
      ['app-smtp'],
    );
    assert.notEqual((await generated(plan.create?.[0])).data.password, left.data.password);
  });
});
