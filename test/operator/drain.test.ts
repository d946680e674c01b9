/** Replicas that go: what they hold is delivered first, or kept and shown. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { at, Destination } from '../harness/destination.ts';
import { DOMAIN, domain, greeting, isRunning, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('a replica that is no longer wanted drains, is ended in time, and its mail is taken up when it is wanted again', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using destination = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ ...wish, replicas: 2 }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const holds = (ordinal: number): boolean =>
    standalone.lines.some(({ event, replica }) => event === 'deferred' && replica === ordinal);
  for (let sent = 0; !holds(1); sent++) {
    assert.ok(sent < 200, 'one of two replicas takes about half of the connections');
    await send(port, `message ${sent}`);
    await destination.until(() => destination.connections.length > 0);
  }
  const sent = standalone.lines.filter(({ event }) => event === 'received').length;

  standalone.write('relay.yaml', relay({ ...wish, replicas: 1 }));
  await standalone.untilReplicas(RELAY, 'Ready Draining+mail');
  // Both take connections that wait at the port; the one that drains sends its clients away.
  const met = new Set<string>();
  await standalone.until('the replica that drains and the other one have greeted', async () => {
    met.add(await greeting(port));
    return met.size === 2;
  });
  assert.deepEqual([...met].sort(), ['220 relay', '421 4.3.2']);
  standalone.write('relay.yaml', relay({ ...wish, replicas: 1, drainTimeout: '1s' }));
  await standalone.untilReplicas(RELAY, 'Ready Stopped+mail');
  const { stdout } = await promisify(execFile)(join(import.meta.dirname, '../../bin/chasqui'), [
    ...['status', '--state', standalone.state],
  ]);
  assert.match(stdout, /outbound-1\s+Stopped\s+yes/);

  destination.react = () => undefined;
  standalone.write('relay.yaml', relay({ ...wish, replicas: 2 }));
  assert.equal((await destination.received(sent)).length, sent);
  await standalone.untilReplicas(RELAY, 'Ready Ready');
});

test('a relay whose manifest is removed drains before it goes', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  await send(port, 'last');
  await standalone.until('it is deferred', () => standalone.lines.some(({ event }) => event === 'deferred'));
  standalone.remove('relay.yaml');
  await standalone.untilReplicas(RELAY, 'Draining+mail');
  destination.react = () => undefined;
  await destination.received(1);
  await standalone.until('the relay is gone', () => standalone.object(RELAY) === undefined);
  assert.equal(await greeting(port), 'ECONNREFUSED');
  assert.deepEqual([...standalone.replicaPids().values()].map(isRunning), [false]);
});
