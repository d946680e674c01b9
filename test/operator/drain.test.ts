/** Replicas that go: what they hold is delivered first, or kept and shown. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { at, Destination } from '../harness/destination.ts';
import { goOn, halt } from '../harness/halted.ts';
import { DOMAIN, domain, greeting, isRunning, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('a replica that is no longer wanted hands its mail to another, under the same queue ids, and ends', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using destination = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ ...wish, replicas: 2 }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const idsAt = (replica: number, what: string): ReadonlySet<unknown> =>
    new Set(
      standalone.lines.flatMap((line) => (line.event === what && line.replica === replica ? [line.queueId] : [])),
    );
  let sent = 0;
  for (; idsAt(1, 'deferred').size < 3; sent++) {
    assert.ok(sent < 200, 'one of two replicas takes about half of the connections');
    await send(port, `message ${sent}`);
    await destination.until(() => destination.connections.length > 0);
  }
  await standalone.until('all is logged', () => idsAt(0, 'received').size + idsAt(1, 'received').size === sent);
  const [first, second] = [idsAt(0, 'received'), idsAt(1, 'received')];

  standalone.write('relay.yaml', relay({ ...wish, replicas: 1 }));
  await standalone.untilReplicas(RELAY, 'Ready Stopped');
  assert.deepEqual(idsAt(1, 'moved'), second);
  destination.react = () => undefined;
  await destination.until(() => destination.messages.length >= sent);
  await standalone.until('all is delivered', () => idsAt(0, 'delivered').size === sent);
  assert.equal(destination.messages.length, sent, 'each message once');
  assert.deepEqual(idsAt(0, 'delivered'), new Set([...first, ...second]));
});

test('a drain that gets nowhere is told, with the replica and why, and goes on when it can', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using destination = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ ...wish, replicas: 2 }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const holds = (): boolean => standalone.lines.some(({ event, replica }) => event === 'deferred' && replica === 1);
  let sent = 0;
  for (; !holds(); sent++) {
    assert.ok(sent < 200, 'one of two replicas takes about half of the connections');
    await send(port, `message ${sent}`);
    await destination.until(() => destination.connections.length > 0);
  }
  const peer = standalone.replicaPids().get(0) ?? 0;
  await halt(peer);
  try {
    standalone.write('relay.yaml', relay({ ...wish, replicas: 1 }));
    await standalone.until('the drain is stuck', () => standalone.condition(RELAY, 'Draining')?.reason === 'Stuck');
    assert.match(
      standalone.condition(RELAY, 'Draining')?.message ?? '',
      /^Replica 1 has \d+ messages? left and gets rid of none: replica 0 cannot be reached: no answer within 5000 ms\.$/,
    );
  } finally {
    goOn(peer);
  }
  await standalone.untilReplicas(RELAY, 'Ready Stopped');
  await standalone.until('it is told', () => standalone.condition(RELAY, 'Draining')?.status === 'False');
  destination.react = () => undefined;
  assert.equal((await destination.received(sent)).length, sent);
});

test('a replica that has nobody to hand its mail to is ended in time, and its mail is taken up when it is wanted again', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({ 'relay.yaml': relay(wish), 'domain.yaml': domain() });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  await send(port, 'kept');
  await standalone.until('it is deferred', () => standalone.lines.some(({ event }) => event === 'deferred'));

  standalone.write('relay.yaml', relay({ ...wish, replicas: 0 }));
  await standalone.untilReplicas(RELAY, 'Draining+mail');
  await standalone.until('it sends clients away', async () => (await greeting(port)) === '421 4.3.2');
  standalone.write('relay.yaml', relay({ ...wish, replicas: 0, drainTimeout: '1s' }));
  await standalone.untilReplicas(RELAY, 'Stopped+mail');
  const chasqui = join(import.meta.dirname, '../../bin/chasqui');
  // It ends with code 1, since the relay takes no mail.
  const status = promisify(execFile)(chasqui, ['status', '--state', standalone.state]);
  const { stdout = '' }: { stdout?: string } = await status.catch((error: unknown) => Object(error));
  assert.match(stdout, /outbound-0\s+Stopped\s+yes/);

  destination.react = () => undefined;
  standalone.write('relay.yaml', relay(wish));
  assert.equal((await destination.received(1)).length, 1);
  await standalone.untilReplicas(RELAY, 'Ready');
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
