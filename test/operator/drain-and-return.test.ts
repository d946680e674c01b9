/** A relay whose number of replicas goes down and up again under a loop of connections: no client notices. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { clients, DOMAIN, domain, isRunning, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** Connections that have to be met in each state of the relay. */
const CONNECTIONS = 60;

test('two replicas, one, two, one, two: of hundreds of connections none is refused, reset or sent away', async (t) => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using destination = await Destination.start();
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ ...wish, replicas: 2 }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const first = standalone.replicaPids().get(0);
  let sent = 0;
  await using loop = clients(port);
  for (const [replicas, states] of [
    [1, 'Ready Stopped'],
    [2, 'Ready Ready'],
    [1, 'Ready Stopped'],
    [2, 'Ready Ready'],
  ] as const) {
    standalone.write('relay.yaml', relay({ ...wish, replicas }));
    await standalone.untilReplicas(RELAY, states);
    const before = loop.met.length;
    await standalone.until('more clients have come', () => loop.met.length >= before + CONNECTIONS);
    await send(port, `with ${replicas}`);
    sent += 1;
  }
  const met = await loop.end();
  t.diagnostic(`${met.length} connections`);
  assert.deepEqual([...new Set(met)], ['220']);
  assert.ok(met.length >= 4 * CONNECTIONS);
  assert.equal((await destination.received(sent)).length, sent);
  assert.ok(first !== undefined && isRunning(first), 'the replica that stays was not replaced');
});

test('a replica that is wanted again while it drains takes connections again, in the same process', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(4);
  await using destination = await Destination.start();
  const wish = { port, submission, monitoring, destination: destination.port };
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ ...wish, replicas: 2 }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pids = [...standalone.replicaPids().values()];
  // What the destination has in hand keeps the replica that drains from being empty.
  const { promise, resolve } = Promise.withResolvers<void>();
  destination.react = async (step) => {
    if (step.at === 'dot') await promise;
    return undefined;
  };
  const heldBy = (ordinal: number): boolean =>
    standalone.lines.some(({ event, replica }) => event === 'received' && replica === ordinal);
  while (!heldBy(1)) {
    const lines = standalone.lines.length;
    await send(port, 'held');
    await standalone.until('it is received', () => standalone.lines.length > lines);
  }
  await using loop = clients(port);
  standalone.write('relay.yaml', relay({ ...wish, replicas: 1 }));
  await standalone.untilReplicas(RELAY, 'Ready Draining+mail');
  const before = loop.met.length;
  await standalone.until('clients have come', () => loop.met.length >= before + CONNECTIONS);
  standalone.write('relay.yaml', relay({ ...wish, replicas: 2 }));
  await standalone.untilReplicas(RELAY, 'Ready Ready');
  const received = (): number =>
    standalone.lines.filter(({ event, replica }) => event === 'received' && replica === 1).length;
  const had = received();
  for (let tries = 0; received() === had; tries++) {
    assert.ok(tries < 200, 'one of two replicas takes about half of the connections');
    await send(port, 'again');
  }
  assert.deepEqual([...new Set(await loop.end())], ['220']);
  assert.deepEqual([...standalone.replicaPids().values()], pids);
  resolve();
});
