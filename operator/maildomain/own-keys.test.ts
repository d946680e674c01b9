import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import type { MailDomain } from '../../crds/maildomain.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay } from '../../test/harness/manifests.ts';
import type { Seen } from '../dns/checker.ts';
import { planDomain } from './controller.ts';
import { domainDocument, type StoredKey, slotOf } from './dkim-keys.ts';
import { judgeOwnKeys, type OwnReference, signingOwnKeys } from './own-keys.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const pem = (type: 'rsa' | 'ed25519', bits = 2048, form: 'pkcs1' | 'pkcs8' = 'pkcs8'): string => {
  const { privateKey } =
    type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: bits }) : generateKeyPairSync('ed25519');
  return privateKey.export({ type: form, format: 'pem' }).toString();
};
const RSA = pem('rsa');
const OTHER = pem('rsa');
const ED25519 = pem('ed25519');

type Wanted = OwnReference['wanted'];
const wanted = (selector: string, algorithm: Wanted['algorithm'] = 'RSA2048'): Wanted => ({
  selector,
  algorithm,
  secretRef: { name: selector },
});
const having = (key: Wanted, text: string): OwnReference => ({
  wanted: key,
  reference: { data: { 'private.pem': text } },
});

/** A domain with own keys, as plans follow each other; DNS has of the records what its looks say. */
class Story {
  object: MailDomain;
  keys: OwnReference[] = [];
  stored: StoredKey[] = [];
  /** Values that DNS has. */
  readonly dns = new Set<string>();

  constructor(algorithms: Wanted['algorithm'][], verification: MailDomain['spec']['dns']['verification'] = 'Required') {
    const { spec } = domain('example');
    this.object = domain('example', {
      dkim: { ...spec.dkim, algorithms },
      dns: { ...spec.dns, verification },
    });
  }

  /** Looks, plans and carries out, until nothing changes. */
  async rest(): Promise<void> {
    for (let before = ''; before !== JSON.stringify(this.object.status); ) {
      before = JSON.stringify(this.object.status);
      await this.#step();
    }
  }

  async #step(): Promise<void> {
    const { spec } = this.object;
    this.object = {
      ...this.object,
      spec: { ...spec, dkim: { ...spec.dkim, keys: this.keys.map((key) => key.wanted) } },
    };
    const looks = new Map<string, Seen>();
    for (const record of this.object.status?.dnsRecords ?? []) {
      looks.set(`${record.type} ${record.name} ${record.value}`, {
        state: this.dns.has(record.value) ? 'Published' : 'Missing',
      });
    }
    const plan = planDomain(
      {
        domain: this.object,
        world: worldOf([this.object]),
        relays: [relay('outbound')],
        views: [{ name: 'outbound', replicas: [], groups: new Map() }],
        storedKeys: this.stored,
        ownKeys: this.keys,
        looks,
        publication: 'Unavailable',
      },
      () => NOW,
    );
    for (const entry of plan.create ?? []) {
      assert.ok('generate' in entry);
      const secret = { ...entry, data: await entry.generate() };
      const slot = slotOf(this.object.metadata, secret);
      if (slot) this.stored.push({ slot, secret });
    }
    this.object = { ...this.object, ...(plan.status && { status: plan.status }) };
  }

  publish(): void {
    for (const { value } of this.object.status?.dnsRecords ?? []) this.dns.add(value);
  }

  /** Selector and state of each key. */
  get states(): string[] {
    return (this.object.status?.dkim?.keys ?? []).map(({ selector, state }) => `${selector} ${state}`);
  }

  /** Selectors of own keys that relays are told to sign with. */
  get signing(): string[] {
    return signingOwnKeys(this.object, judgeOwnKeys(this.object, this.keys)).map(({ selector }) => selector);
  }

  condition(type: string) {
    return this.object.status?.conditions?.find((condition) => condition.type === type);
  }
}

describe("a DKIM key of the user's own", () => {
  for (const [what, key, text, reason, says] of [
    ['that is not there', wanted('mail'), undefined, 'SecretNotFound', 'There is none: make it.'],
    ['whose Secret has none', wanted('mail'), '', 'SecretIncomplete', 'Secret mail has no private.pem.'],
    ['for another algorithm', wanted('mail', 'Ed25519'), RSA, 'KeyInvalid', /is a key for rsa, not for ed25519/],
    ['of 1024 bits', wanted('mail'), pem('rsa', 1024), 'KeyInvalid', /has 1024 bits: DKIM needs 2048 to 4096/],
    ['that is no PEM', wanted('mail'), 'nothing', 'KeyInvalid', /is no private key in PEM/],
    [
      'that is a public key',
      wanted('mail'),
      '-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n',
      'KeyInvalid',
      /is no private key, but what is made of one/,
    ],
    [
      'that asks for a passphrase',
      wanted('mail'),
      '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n',
      'KeyInvalid',
      /is encrypted: store it without a passphrase/,
    ],
    [
      'under a selector of ours',
      wanted('chasqui-r7'),
      RSA,
      'SelectorTaken',
      /Selector chasqui-r7 is for keys that are made/,
    ],
  ] as const) {
    it(`${what} is told, with what to do`, () => {
      const reference = text === undefined ? { problem: 'There is none: make it.' } : { data: { 'private.pem': text } };
      const { ready, problems } = judgeOwnKeys(domain('example'), [{ wanted: key, reference }]);
      assert.deepEqual(ready, []);
      assert.equal(problems[0]?.reason, reason);
      if (typeof says === 'string') assert.equal(problems[0]?.message, says);
      else assert.match(problems[0]?.message ?? '', says);
    });
  }

  it('may be PKCS #1, of up to 4096 bits, and is told to relays as PKCS #8', () => {
    const { ready } = judgeOwnKeys(domain('example'), [having(wanted('mail'), pem('rsa', 3072, 'pkcs1'))]);
    assert.match(ready[0]?.privateKey ?? '', /^-----BEGIN PRIVATE KEY-----/);
  });

  it('signs once DNS has it, and none is made for its algorithm', async () => {
    const story = new Story(['RSA2048', 'Ed25519']);
    story.keys = [having(wanted('mail'), RSA)];
    await story.rest();
    assert.deepEqual(story.states, ['chasqui-e1 Publishing', 'mail Publishing']);
    assert.equal(story.condition('DkimReady')?.reason, 'WaitingForDns');
    assert.deepEqual(story.signing, []);
    story.publish();
    await story.rest();
    assert.deepEqual(story.states, ['chasqui-e1 Active', 'mail Active']);
    assert.deepEqual(story.signing, ['mail']);
    assert.equal(story.condition('DkimReady')?.status, 'True');
  });

  it('signs at once where DNS is not looked at', async () => {
    const story = new Story([], 'Disabled');
    story.keys = [having(wanted('mail'), RSA)];
    await story.rest();
    assert.deepEqual(story.states, ['mail Active']);
    assert.equal(domainDocument(story.object, []).dkim.sign, true, 'though no algorithm is named');
  });

  it('goes on signing when its record is lost, which is told', async () => {
    const story = new Story([]);
    story.keys = [having(wanted('mail'), RSA)];
    await story.rest();
    story.publish();
    await story.rest();
    story.dns.clear();
    await story.rest();
    assert.deepEqual(story.states, ['mail Active']);
    assert.equal(story.condition('DnsVerified')?.reason, 'RecordsMissing');
  });

  it('that is another under the same selector signs only once DNS has that one', async () => {
    const story = new Story([]);
    story.keys = [having(wanted('mail'), RSA)];
    await story.rest();
    story.publish();
    await story.rest();
    story.keys = [having(wanted('mail'), OTHER)];
    assert.deepEqual(story.signing, [], 'relays are not told of it even before the status is');
    await story.rest();
    assert.deepEqual(story.states, ['mail Publishing']);
    story.publish();
    await story.rest();
    assert.deepEqual(story.signing, ['mail']);
  });

  it('takes over from the one before it once DNS has it', async () => {
    const story = new Story([]);
    story.keys = [having(wanted('mail'), RSA)];
    await story.rest();
    story.publish();
    await story.rest();
    story.keys.push(having(wanted('next'), OTHER));
    await story.rest();
    assert.deepEqual(story.states, ['mail Active', 'next Publishing']);
    assert.equal(story.condition('DkimReady')?.message, 'Mail is signed with mail; next will be once published.');
    story.publish();
    await story.rest();
    assert.deepEqual(story.states, ['mail Retiring', 'next Active']);
    assert.deepEqual(story.signing, ['next']);
  });

  it('takes over from one that was made here, which signs until then', async () => {
    const story = new Story(['Ed25519']);
    await story.rest();
    story.publish();
    await story.rest();
    assert.deepEqual(story.states, ['chasqui-e1 Active']);
    story.keys = [having(wanted('mail', 'Ed25519'), ED25519)];
    await story.rest();
    assert.deepEqual(story.states, ['chasqui-e1 Active', 'mail Publishing']);
    story.publish();
    await story.rest();
    assert.deepEqual(story.states, ['chasqui-e1 Retiring', 'mail Active']);
  });

  it('under a selector like those of other prefixes is never taken for one that was made here and is lost', async () => {
    const story = new Story([]);
    story.keys = [having(wanted('acme-r2'), RSA)];
    await story.rest();
    story.publish();
    await story.rest();
    story.keys = [];
    await story.rest();
    assert.deepEqual(story.states, []);
    assert.deepEqual(story.stored, []);
  });
});
