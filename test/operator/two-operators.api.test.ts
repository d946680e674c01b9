/** Two operators: one leads. A leader that was stopped for longer than its lease and goes on writes nothing any more. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import type { AuditEvent } from '../cluster/audit.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { threeManifests } from '../cluster/three-manifests.ts';

const WRITES = ['create', 'update', 'patch', 'delete'];
const LEASE = ['--leader-election-namespace', 'default'];

describe('two operators', needsOwnApiServer, () => {
  let api: ApiServer;
  before(async () => {
    api = await ApiServer.start({ audit: true });
    await api.applyCrds();
    await api.kubectl.run('create', 'namespace', 'mail');
  });
  after(() => api?.[Symbol.asyncDispose]());

  const start = () => OperatorProcess.start(api.kubeconfig, ...LEASE);
  const writesOf = async ({ userAgent }: OperatorProcess): Promise<readonly AuditEvent[]> =>
    (await api.audit()).filter((event) => event.userAgent === userAgent && WRITES.includes(event.verb));
  const holder = () =>
    api.kubectl.run('get', 'lease', 'chasqui-operator', '-n', 'default', '--output=jsonpath={.spec.holderIdentity}');
  const touch = (name: string) =>
    api.kubectl.apply({
      ...threeManifests('mail')[0],
      metadata: { name, namespace: 'mail' },
    });

  it('are both ready, and one of them works', async () => {
    await using first = await start();
    await first.untilSays('this process leads');
    await using second = await start();
    await second.untilReady();
    await touch('one');
    await first.until('the first has worked', async () => (await relaysWithStatus(api)).includes('one'));
    assert.equal(await first.metric('leader_election_master_status{name="chasqui-operator"}'), 1);
    assert.equal(await second.metric('leader_election_master_status{name="chasqui-operator"}'), 0);
    assert.deepEqual(await writesOf(second), []);

    // The one that waits must not take it before it is looked at.
    await second.halt();
    await first.stop();
    assert.equal(await holder(), '', 'it was given back');
    second.goOn();
    await second.untilSays('this process leads');
    assert.ok(second.userAgent.includes(await holder()));
    await touch('two');
    await second.until('the second has worked', async () => (await relaysWithStatus(api)).includes('two'));
  });

  it('do not both write when the leader is stopped past its lease and goes on', async () => {
    await using first = await start();
    await first.untilSays('this process leads');
    await using second = await start();
    await second.untilReady();
    await first.halt();
    // What changes while it is stopped is what it would work on once it goes on.
    await touch('three');
    await second.untilSays('this process leads');
    await second.until('the second has worked', async () => (await relaysWithStatus(api)).includes('three'));
    await touch('four');
    const before = await writesOf(first);
    first.goOn();
    assert.equal(await first.end(), 1, 'it ends, to be started again');
    assert.match(first.complaints, /the lease was lost/);
    await second.until('the second has worked on', async () => (await relaysWithStatus(api)).includes('four'));
    await pause(1_000);
    assert.deepEqual((await writesOf(first)).slice(before.length), []);
    assert.ok(second.userAgent.includes(await holder()));
  });

  it('wait for the end of the lease of one that was killed', async () => {
    const first = await start();
    await first.untilSays('this process leads');
    first.signal('SIGKILL');
    await first.end();
    const killedAtMs = performance.now();
    await using second = await start();
    await second.untilSays('this process leads');
    assert.ok(performance.now() - killedAtMs > 10_000, 'it did not wait');
  });
});

async function relaysWithStatus(api: ApiServer): Promise<string> {
  return api.kubectl.run(
    ...['get', 'smtprelays', '-n', 'mail'],
    '--output=jsonpath={range .items[?(@.status.observedGeneration==1)]}{.metadata.name}{" "}{end}',
  );
}
