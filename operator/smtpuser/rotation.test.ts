import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { durationMs } from '../../crds/duration.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay, user } from '../../test/harness/manifests.ts';
import type { Reference, Secret } from '../backend.ts';
import type { Plan, SecretRecipe } from '../runtime/plan.ts';
import { makeCA } from '../smtprelay/pki.ts';
import { type ObservedUser, planUser } from './controller.ts';
import { readVerifiers } from './verifier.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const OVERLAP_MS = durationMs('24h');
let ca: Secret;
before(async () => {
  const pair = await makeCA('Chasqui CA outbound 1', NOW);
  ca = {
    namespace: 'default',
    name: 'outbound-ca',
    owner: { kind: 'SmtpRelay', name: 'outbound', uid: 'uid-of-outbound' },
    purpose: 'ca',
    annotations: {},
    data: { 'ca.crt': pair.certificate, 'ca.key': pair.key },
  };
});

const asking = (value?: string, uid = 'uid-of-app'): SmtpUser =>
  user('app', {}, { uid, ...(value !== undefined && { annotations: { 'chasqui.dev/rotate-password': value } }) });

/** What is there of a user's Secrets, and what plans make of it, one after the other. */
class Story {
  credential: Secret | undefined;
  verifier: Secret | undefined;
  /** What stands where passwordSecretRef points. */
  own: Reference | undefined;
  /** Names of the Secrets that were written. */
  readonly written: string[] = [];
  #last: Plan<'SmtpUser'> = {};

  plan(object: SmtpUser, nowMs = NOW): Plan<'SmtpUser'> {
    const observed: ObservedUser = {
      user: object,
      world: worldOf([domain('example')]),
      relay: relay('outbound'),
      view: { name: 'outbound', replicas: [], groups: new Map() },
      submissionHost: 'localhost',
      ca,
      credential: this.credential,
      verifier: this.verifier,
      former: undefined,
      password: this.own,
    };
    this.#last = planUser(observed, () => nowMs);
    return this.#last;
  }

  /** Carries out what one plan says. */
  async step(object: SmtpUser, nowMs = NOW): Promise<Plan<'SmtpUser'>> {
    const plan = this.plan(object, nowMs);
    for (const entry of [...(plan.create ?? []), ...(plan.apply ?? [])]) {
      const secret = await made(entry);
      this.written.push(secret.name);
      if (secret.purpose === 'credential') this.credential = secret;
      else this.verifier = secret;
    }
    return plan;
  }

  /** Until a plan writes nothing. */
  async rest(object: SmtpUser, nowMs = NOW): Promise<Plan<'SmtpUser'>> {
    for (;;) {
      const before = this.written.length;
      const plan = await this.step(object, nowMs);
      if (this.written.length === before) return plan;
    }
  }

  get password(): string {
    return this.credential?.data.password ?? assert.fail();
  }

  get keys(): (string | undefined)[] {
    const { verifier, previousVerifier } = readVerifiers(asking(), this.verifier) ?? assert.fail();
    return [verifier.storedKey, previousVerifier?.storedKey];
  }
}

async function made(entry: Secret | SecretRecipe): Promise<Secret> {
  if (!('generate' in entry)) return entry;
  const { generate, ...identity } = entry;
  return { ...identity, data: await generate() };
}

const ready = (plan: Plan<'SmtpUser'>) =>
  plan.status?.conditions?.find(({ type }) => type === 'CredentialReady')?.status;

describe('the password of a user', () => {
  it('is not made again for an annotation that is there from the start', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    assert.deepEqual(story.written, ['app-smtp', 'app-verifier']);
    assert.equal(story.keys[1], undefined);
  });

  it('is made again for another value of the annotation, once, and that before works on for a day', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    const [password, [former]] = [story.password, story.keys];
    story.written.length = 0;
    const plan = await story.rest(asking('2'));
    assert.deepEqual(story.written, ['app-smtp', 'app-verifier']);
    assert.notEqual(story.password, password);
    assert.equal(story.credential?.data.SMTP_PASSWORD, story.password);
    assert.notEqual(story.keys[0], former);
    assert.equal(story.keys[1], former);
    assert.equal(plan.status?.previousPasswordUntil, '2026-03-02T12:00:00Z');
    assert.equal(plan.againMs, OVERLAP_MS);
  });

  it('is made again for an annotation where there was none', async () => {
    const story = new Story();
    await story.rest(asking());
    const { password } = story;
    await story.rest(asking('now'));
    assert.notEqual(story.password, password);
    await story.rest(asking());
    assert.equal(story.keys.length, 2, 'and is left alone when the annotation goes');
  });

  it('stays ready meanwhile, whatever step it is at', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    for (let step = 0; step < 3; step += 1) assert.equal(ready(await story.step(asking('2'))), 'True', `step ${step}`);
  });

  it('before is taken no more when its time is over', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    await story.rest(asking('2'));
    const [current] = story.keys;
    story.written.length = 0;
    await story.rest(asking('2'), NOW + OVERLAP_MS - 1_000);
    assert.deepEqual(story.written, []);
    const plan = await story.rest(asking('2'), NOW + OVERLAP_MS);
    assert.deepEqual(story.written, ['app-verifier']);
    assert.deepEqual(story.keys, [current, undefined]);
    assert.equal(plan.status?.previousPasswordUntil, undefined);
    assert.equal(plan.againMs, undefined);
  });

  it('before is taken no more at once when people write another one by hand', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    assert.ok(story.credential);
    story.credential = { ...story.credential, data: { ...story.credential.data, password: 'by hand' } };
    await story.rest(asking('1'));
    assert.equal(story.keys[1], undefined);
  });

  describe("by a Secret of the user's own", () => {
    const asks = (value?: string): SmtpUser => {
      const object = asking(value);
      return { ...object, spec: { ...object.spec, passwordSecretRef: { name: 'mine' } } };
    };
    const owning = async (password: string, value?: string): Promise<Story> => {
      const story = new Story();
      story.own = { data: { password } };
      await story.rest(asks(value));
      return story;
    };

    it('is written into the credential, and checked by as many rounds as a word needs', async () => {
      const story = await owning('correct horse');
      assert.deepEqual(story.written, ['app-smtp', 'app-verifier']);
      assert.equal(story.credential?.data.SMTP_PASSWORD, 'correct horse');
      assert.match(story.credential?.data.uri ?? '', /correct%20horse@/);
      assert.equal(readVerifiers(asking(), story.verifier)?.verifier.iterations, 100_000);
    });

    it('is none, and nothing is made in its place, until there is one', async () => {
      const story = new Story();
      story.own = { problem: 'There is none.' };
      const plan = await story.rest(asks());
      assert.deepEqual(story.written, []);
      assert.equal(ready(plan), 'False');
    });

    it('takes the place of the one that was made, and of one that was written by hand', async () => {
      const story = new Story();
      await story.rest(asking());
      story.own = { data: { password: 'correct horse' } };
      await story.rest(asks());
      assert.equal(story.password, 'correct horse');
      assert.ok(story.credential);
      story.credential = { ...story.credential, data: { ...story.credential.data, password: '' } };
      await story.rest(asks());
      assert.equal(story.password, 'correct horse');
    });

    it('is followed to another, and the one before is taken no more', async () => {
      const story = await owning('correct horse');
      const [former] = story.keys;
      story.own = { data: { password: 'battery staple' } };
      await story.rest(asks());
      assert.equal(story.password, 'battery staple');
      assert.notEqual(story.keys[0], former);
      assert.equal(story.keys[1], undefined);
    });

    it('is rotated when the annotation asks for it too: then both are taken for a day', async () => {
      const story = await owning('correct horse', '1');
      const [former] = story.keys;
      story.written.length = 0;
      await story.rest(asks('2'));
      assert.deepEqual(story.written, [], 'there is none to rotate to yet');
      story.own = { data: { password: 'battery staple' } };
      const plan = await story.rest(asks('2'));
      assert.equal(story.keys[1], former);
      assert.equal(plan.againMs, OVERLAP_MS);
    });

    it('that cannot be used is told, and leaves the one before in force, to the end of its overlap', async () => {
      const story = await owning('correct horse', '1');
      story.own = { data: { password: 'battery staple' } };
      await story.rest(asks('2'));
      const [current, former] = story.keys;
      story.own = { problem: 'There is none.' };
      const plan = await story.rest(asks('2'));
      const condition = plan.status?.conditions?.find(({ type }) => type === 'CredentialReady');
      assert.equal(condition?.message, 'There is none. The one before is taken meanwhile.');
      assert.deepEqual(story.keys, [current, former]);
      await story.rest(asks('2'), NOW + OVERLAP_MS);
      assert.deepEqual(story.keys, [current, undefined]);
    });

    it('stays when the spec names it no more', async () => {
      const story = await owning('correct horse');
      story.own = undefined;
      story.written.length = 0;
      await story.rest(asking());
      assert.deepEqual([story.password, story.written], ['correct horse', []]);
    });
  });

  it('that was rotated twice within a day leaves the one before, not that before it', async () => {
    const story = new Story();
    await story.rest(asking('1'));
    await story.rest(asking('2'));
    const [second] = story.keys;
    await story.rest(asking('3'), NOW + 1_000);
    assert.equal(story.keys[1], second);
  });
});
