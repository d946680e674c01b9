/** All controllers together, on a backend in memory: three manifests become a relay group, and then nothing happens. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keyOf } from '../crds/resource.ts';
import { domain, relay, user } from '../test/harness/manifests.ts';
import { MemoryBackend, NO_DNS } from '../test/harness/memory-backend.ts';
import { CONTROLLERS } from './controllers.ts';
import { runControllers } from './runtime/run-controllers.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const OUTBOUND = { namespace: 'default', name: 'outbound' };
const QUIET = { debug: () => {}, warn: (fields: object) => assert.fail(JSON.stringify(fields)) };

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !holds(); ) {
    assert.ok(Date.now() < deadline, `never happened: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const conditionOf = (
  backend: MemoryBackend,
  kind: 'SmtpRelay' | 'MailDomain' | 'SmtpUser',
  name: string,
  type: string,
) =>
  backend.objects
    .get(kind, { namespace: 'default', name })
    ?.status?.conditions?.find((condition) => condition.type === type);

/** The replicas of a real backend: each takes the config in force as soon as there is one. */
function obedientReplicas(backend: MemoryBackend, count = 2): () => void {
  const timer = setInterval(() => {
    const group = backend.groups.get(keyOf({ metadata: OUTBOUND }));
    if (!group || backend.relays.observe(OUTBOUND)[0]?.configHash === group.configHash) return;
    backend.report(
      OUTBOUND,
      Array.from({ length: count }, (_, ordinal) => ({
        ordinal,
        state: 'Ready' as const,
        version: '0.1.0',
        configHash: group.configHash,
        rejected: [],
        queued: false,
      })),
    );
  }, 1);
  return () => clearInterval(timer);
}

const quickstart = (backend: MemoryBackend): void => {
  backend.put(relay('outbound', { replicas: 2 }));
  backend.put(domain('example-test'));
  backend.put(user('app', { secret: { name: 'app-smtp' } }));
};

const allReady = (backend: MemoryBackend): boolean =>
  conditionOf(backend, 'SmtpRelay', 'outbound', 'Ready')?.status === 'True' &&
  conditionOf(backend, 'MailDomain', 'example-test', 'Ready')?.status === 'True' &&
  conditionOf(backend, 'SmtpUser', 'app', 'Ready')?.status === 'True';

async function running(t: { after(hook: () => Promise<void>): void }, backend: MemoryBackend) {
  const stopReplicas = obedientReplicas(backend);
  const controllers = await runControllers(backend, CONTROLLERS, () => NOW, QUIET, NO_DNS);
  t.after(async () => {
    stopReplicas();
    await controllers.stop();
  });
  return controllers;
}

describe('the controllers', () => {
  it('make three manifests ready, with keys, certificate, credential and config', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    await running(t, backend);
    await until('all ready', () => allReady(backend));
    assert.deepEqual([...backend.stored.keys()].sort(), [
      'default/app-smtp',
      'default/app-verifier',
      'default/example-test-dkim-chasqui-e1',
      'default/example-test-dkim-chasqui-r1',
      'default/outbound-ca',
      'default/outbound-tls',
    ]);
    const status = backend.objects.get('SmtpRelay', OUTBOUND)?.status;
    assert.equal(status?.attachedDomains, 1);
    assert.equal(status?.attachedUsers, 1);
    assert.equal(status?.readyReplicas, 2);
    assert.deepEqual(backend.objects.get('SmtpRelay', OUTBOUND)?.metadata.finalizers, ['chasqui.dev/drain']);
  });

  it('write nothing in a steady state, nor after a restart', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    const before = await running(t, backend);
    await until('all ready', () => allReady(backend));
    await settled(backend);
    await before.stop();
    backend.writes.length = 0;
    const restarted = await runControllers(backend, CONTROLLERS, () => NOW + 60_000, QUIET, NO_DNS);
    t.after(() => restarted.stop());
    await settled(backend);
    assert.deepEqual(backend.writes, []);
  });

  it('take a removed user out of the config and delete its Secrets, and keep the keys of a removed domain', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    await running(t, backend);
    await until('all ready', () => allReady(backend));
    backend.take('SmtpUser', { namespace: 'default', name: 'app' });
    await until('the user has gone', () => backend.objects.get('SmtpRelay', OUTBOUND)?.status?.attachedUsers === 0);
    await until(
      'its Secrets have gone',
      () => !backend.stored.has('default/app-smtp') && !backend.stored.has('default/app-verifier'),
    );
    backend.take('MailDomain', { namespace: 'default', name: 'example-test' });
    await until('the domain has gone', () => backend.objects.get('SmtpRelay', OUTBOUND)?.status?.attachedDomains === 0);
    const before = backend.stored.get('default/example-test-dkim-chasqui-r1')?.data;
    assert.ok(before);
    backend.put(domain('example-test', {}, { uid: 'another' }));
    await until(
      'the domain is back',
      () => conditionOf(backend, 'MailDomain', 'example-test', 'Ready')?.status === 'True',
    );
    assert.equal(backend.stored.get('default/example-test-dkim-chasqui-r1')?.data, before);
  });

  it('delete, at the start, the Secrets of a user and of a relay that went while they were down, and no DKIM key', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    const before = await running(t, backend);
    await until('all ready', () => allReady(backend));
    await before.stop();
    backend.take('SmtpUser', { namespace: 'default', name: 'app' });
    backend.take('MailDomain', { namespace: 'default', name: 'example-test' });
    backend.take('SmtpRelay', OUTBOUND);
    await running(t, backend);
    await until('their Secrets have gone', () => backend.stored.size === 2);
    assert.deepEqual([...backend.stored.keys()].sort(), [
      'default/example-test-dkim-chasqui-e1',
      'default/example-test-dkim-chasqui-r1',
    ]);
  });

  it('delete the keys of a removed domain where that is wished, though they were down meanwhile', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    const { spec } = domain('example-test');
    backend.put(domain('example-test', { dkim: { ...spec.dkim, deletionPolicy: 'Delete' } }));
    const before = await running(t, backend);
    await until('all ready', () => allReady(backend));
    await before.stop();
    backend.take('MailDomain', { namespace: 'default', name: 'example-test' });
    await running(t, backend);
    await until('its keys have gone', () => ![...backend.stored.keys()].some((name) => name.includes('-dkim-')));
  });

  it('make a credential that was deleted anew, with another password', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    await running(t, backend);
    await until('all ready', () => allReady(backend));
    const before = backend.stored.get('default/app-smtp')?.data.password;
    await backend.secrets.delete('default', 'app-smtp');
    await until('it is there again', () => backend.stored.has('default/app-smtp') && allReady(backend));
    assert.notEqual(backend.stored.get('default/app-smtp')?.data.password, before);
  });

  it('keep a deleted relay until its replicas have drained, then sweep its certificates', async (t) => {
    const backend = new MemoryBackend();
    quickstart(backend);
    await running(t, backend);
    await until('all ready', () => allReady(backend));
    const live = backend.objects.get('SmtpRelay', OUTBOUND);
    assert.ok(live);
    backend.put({ ...live, metadata: { ...live.metadata, deletionTimestamp: '2026-03-01T12:00:00Z' } });
    await until('it drains', () => conditionOf(backend, 'SmtpRelay', 'outbound', 'Draining')?.status === 'True');
    assert.ok(backend.objects.get('SmtpRelay', OUTBOUND), 'the finalizer holds it');
    backend.drained.add('default/outbound');
    backend.report(OUTBOUND, []);
    await until('it has gone', () => backend.objects.get('SmtpRelay', OUTBOUND) === undefined);
    await until('its CA has gone', () => !backend.stored.has('default/outbound-ca'));
    await until('the domain says so', () => {
      return conditionOf(backend, 'MailDomain', 'example-test', 'Accepted')?.reason === 'RelayNotFound';
    });
  });
});

/** Resolves once nothing was written for a while: each reconcile in memory takes far less. */
async function settled(backend: MemoryBackend): Promise<void> {
  let count = -1;
  while (count !== backend.writes.length) {
    count = backend.writes.length;
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}
