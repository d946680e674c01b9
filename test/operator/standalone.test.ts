/** What an operator of one machine relies on: kills of every process, a machine shared with others, a clean end. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import {
  clients,
  DOMAIN,
  domain,
  greeting,
  isRunning,
  RELAY,
  relay,
  USER,
  userManifest,
} from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('a replica that is killed is back, and no connection is refused meanwhile', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({ 'all.yaml': relay({ port, submission, monitoring }) });
  await standalone.untilReady(RELAY);
  const [pid = 0] = standalone.replicaPids().values();
  await using busy = clients(port);
  process.kill(pid, 'SIGKILL');
  await standalone.until('another replica is ready', () => {
    const started = standalone.lines.filter(({ message }) => message === 'relay started').length;
    return started === 2 && standalone.replicas(RELAY) === 'Ready';
  });
  const met = new Set(await busy.end());
  assert.ok(met.has('220'));
  // A connection that the killed process had taken is cut off; none is refused.
  assert.deepEqual(
    [...met].filter((word) => !['220', 'ECONNRESET', ''].includes(word)),
    [],
  );
});

test('the supervisor, a replica, or both are killed: everything is taken up as it was, a wrong edit left out', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, replicas: 2 }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const read = (secret: string) => readFileSync(join(standalone.state, 'secrets/default', secret), 'utf8');
  const kept = () => [
    read('app-smtp/password'),
    read('app-smtp/ca.crt'),
    ...[RELAY, DOMAIN, USER].map((id) => {
      const { metadata, spec } = standalone.object(id) ?? assert.fail(`${id} is gone`);
      return JSON.stringify([metadata.uid, metadata.generation, spec]);
    }),
  ];
  const before = kept();

  standalone.edit('domain.yaml', (text) => text.replace('relayRefs', 'relays'));
  standalone.edit('relay.yaml', (text) =>
    text.replace('hostname: relay', 'hostname: other').replace('Submission', 'Sub'),
  );
  const isTold = () => [RELAY, DOMAIN].every((id) => standalone.condition(id, 'ManifestValid')?.status === 'False');
  await standalone.until('the wrong edits are told', isTold);

  for (const killed of ['supervisor', 'replica', 'both']) {
    const pids = [...standalone.replicaPids().values()];
    const started = standalone.lines.filter(({ message }) => message === 'relay started').length;
    if (killed !== 'supervisor') for (const pid of pids) process.kill(pid, 'SIGKILL');
    if (killed !== 'replica') {
      await standalone.kill();
      standalone.run();
    }
    await standalone.until(`replicas run again after the kill of ${killed}`, () => {
      const now = standalone.lines.filter(({ message }) => message === 'relay started').length;
      return now >= started + 2 && standalone.replicas(RELAY) === 'Ready Ready';
    });
    for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
    assert.deepEqual(kept(), before, killed);
    assert.ok(isTold());
    assert.deepEqual(pids.map(isRunning), [false, false]);
    assert.equal(await greeting(port), '220 relay');
  }
  assert.match(
    standalone.condition(DOMAIN, 'ManifestValid')?.message ?? '',
    /domain\.yaml: spec\.relays: unknown field/,
  );
});

test('a port that another program holds is told, and the relay runs once it is free', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const other = createServer().listen(port, '127.0.0.1');
  await once(other, 'listening');
  await using standalone = await Standalone.start({ 'relay.yaml': relay({ port, submission, monitoring }) });
  await standalone.until('AddressInUse is told', () => {
    const condition = standalone.condition(RELAY, 'Programmed');
    return condition?.status === 'False' && condition.reason === 'AddressInUse';
  });
  other.close();
  await standalone.untilReady(RELAY);
  assert.equal(await greeting(port), '220 relay');
});

test('a second standalone on the state folder is refused and told who holds it', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({ 'relay.yaml': relay({ port, submission, monitoring }) });
  await standalone.untilReady(RELAY);
  const chasqui = join(import.meta.dirname, '../../bin/chasqui');
  const second = promisify(execFile)(chasqui, ['standalone', '-f', standalone.manifests, '--state', standalone.state]);
  const error: unknown = await second.catch((reason: unknown) => reason);
  assert.ok(error instanceof Error && 'code' in error && 'stderr' in error);
  assert.equal(error.code, 1);
  assert.match(String(error.stderr), new RegExp(`held by another chasqui standalone \\(process ${standalone.pid}\\)`));
  assert.equal(await greeting(port), '220 relay');
});

test('Ctrl-C leaves no process and no port, and nothing in the state folder is for others to read', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using standalone = await Standalone.start({
    'all.yaml': [relay({ port, submission, monitoring, replicas: 2 }), domain(), userManifest].join('---'),
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const pids = [...standalone.replicaPids().values()];
  assert.equal(await standalone.stop(), 0);
  assert.deepEqual(pids.map(isRunning), [false, false]);
  for (const closed of [port, monitoring, monitoring + 1]) assert.equal(await greeting(closed), 'ECONNREFUSED');
  const open = readdirSync(standalone.state, { recursive: true, encoding: 'utf8' }).filter(
    (name) => (statSync(join(standalone.state, name)).mode & 0o077) !== 0,
  );
  assert.deepEqual(open, []);
});
