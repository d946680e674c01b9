import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { user } from '../../test/harness/manifests.ts';
import { MemoryBackend } from '../../test/harness/memory-backend.ts';
import type { Secret } from '../backend.ts';
import { applyPlan } from './apply-plan.ts';
import { setConditions } from './conditions.ts';
import type { Plan, SecretRecipe } from './plan.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const clock = (): number => NOW;
const app = user('app');
const owner = { kind: 'SmtpUser', name: 'app', uid: 'uid-of-app' } as const;
const secret: Secret = {
  namespace: 'default',
  name: 'app-smtp',
  owner,
  purpose: 'credential',
  annotations: {},
  data: { password: 'first' },
};
const recipe = (password: string): SecretRecipe => {
  const { data: _, ...identity } = secret;
  return { ...identity, generate: async () => ({ password }) };
};
const status = {
  conditions: setConditions(
    app,
    ['CredentialReady', 'Ready'].map((type) => ({ type, status: 'True' as const, reason: 'Fine', message: '' })),
    clock,
  ),
};
const plan: Plan<'SmtpUser'> = { create: [recipe('second')], secretCondition: 'CredentialReady', status };

function backendWith(...secrets: readonly Secret[]): MemoryBackend {
  const backend = new MemoryBackend();
  backend.put(app);
  for (const each of secrets) backend.stored.set(`${each.namespace}/${each.name}`, each);
  return backend;
}
const reasons = (backend: MemoryBackend) =>
  backend.objects
    .get('SmtpUser', { namespace: 'default', name: 'app' })
    ?.status?.conditions?.map(({ reason }) => reason);

describe('applying a plan', () => {
  it('creates what is missing and asks to look again at once', async () => {
    const backend = backendWith();
    assert.equal(await applyPlan(plan, app, backend, clock), 0);
    assert.equal(backend.stored.get('default/app-smtp')?.data.password, 'second');
  });

  it('uses the key that is there when it is ours after all, and never writes over it', async () => {
    const backend = backendWith(secret);
    assert.equal(await applyPlan(plan, app, backend, clock), 0);
    assert.equal(backend.stored.get('default/app-smtp')?.data.password, 'first');
    assert.deepEqual(reasons(backend), ['Fine', 'Fine']);
  });

  it('leaves a Secret of another alone and says SecretConflict', async () => {
    for (const other of [
      { ...owner, uid: 'another' },
      { ...owner, name: 'other' },
    ]) {
      const backend = backendWith({ ...secret, owner: other });
      assert.equal(await applyPlan(plan, app, backend, clock), 60_000);
      assert.equal(backend.stored.get('default/app-smtp')?.data.password, 'first');
      assert.deepEqual(reasons(backend), ['SecretConflict', 'SecretConflict']);
    }
  });

  it('says SecretConflict once, not at each look', async () => {
    const backend = backendWith({ ...secret, owner: { ...owner, uid: 'another' } });
    await applyPlan(plan, app, backend, clock);
    backend.writes.length = 0;
    const again = backend.objects.get('SmtpUser', { namespace: 'default', name: 'app' });
    assert.ok(again);
    await applyPlan(plan, again, backend, () => NOW + 60_000);
    assert.deepEqual(backend.writes, ['create Secret default/app-smtp']);
  });

  it('writes neither a Secret nor a status that is as it should be', async () => {
    const backend = backendWith(secret);
    const steady: Plan<'SmtpUser'> = { apply: [secret], status };
    await applyPlan(steady, { ...app, status }, backend, clock);
    assert.deepEqual(backend.writes, []);
  });

  it('passes on any other error, with the status unwritten', async () => {
    const backend = backendWith();
    backend.failures.set('create Secret default/app-smtp', new Error('disk full'));
    await assert.rejects(applyPlan(plan, app, backend, clock), /disk full/);
    assert.equal(reasons(backend), undefined);
  });
});
