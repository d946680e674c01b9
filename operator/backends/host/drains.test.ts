import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts } from '../../../test/harness/standalone.ts';
import { greeting, group, KEY, Scene } from './fixtures/scene.ts';

test('a replica that is no longer wanted drains, ends when it is empty, and is taken up again', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.tell(1, 'messages', '3');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
  await scene.relays.apply(group({ replicas: 1, ports }));
  await scene.until(
    ([, replica]) => replica?.state === 'Draining' && replica.configHash === group({ replicas: 1, ports }).configHash,
  );
  scene.tell(1, 'messages', '0');
  await scene.until('Ready Stopped');
  assert.ok(existsSync(scene.spool(1)));
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
});

test('a drain that takes too long is ended, and its mail is shown and kept for the next replica of the ordinal', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.tell(1, 'messages', '3');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
  await scene.relays.apply(group({ replicas: 1, ports, drainTimeoutMs: 300 }));
  await scene.until('Ready Stopped+mail');
  await scene.relays.stop();
  scene.restart();
  await scene.relays.apply(group({ replicas: 1, ports }));
  await scene.until('Ready Stopped+mail');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
});

test('a drain that was interrupted goes on after a restart', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.tell(1, 'messages', '3');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
  await scene.relays.apply(group({ replicas: 1, ports }));
  await scene.until('Ready Draining+mail');
  await scene.relays.stop();
  scene.restart();
  await scene.relays.apply(group({ replicas: 1, ports }));
  await scene.until('Ready Draining+mail');
  scene.tell(1, 'messages', '0');
  await scene.until('Ready Stopped');
});

test('a relay that is removed drains all replicas first; config and port go, spools stay', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.tell(0, 'messages', '3');
  await scene.relays.apply(group({ ports }));
  await scene.until('Ready');
  assert.equal(await scene.relays.remove(KEY, 600_000), false);
  await scene.until('Draining+mail');
  // Also over a restart: nothing applies the relay any more.
  await scene.relays.stop();
  scene.restart();
  assert.equal(await scene.relays.remove(KEY, 600_000), false);
  await scene.until('Draining+mail');
  scene.tell(0, 'messages', '0');
  await scene.until('Stopped');
  assert.equal(await scene.relays.remove(KEY, 600_000), true);
  assert.deepEqual(scene.relays.observe(KEY), []);
  assert.equal(existsSync(path.join(scene.state, 'config/default/outbound')), false);
  assert.ok(existsSync(scene.spool(0)));
  assert.equal(await greeting(ports[0] ?? 0), 'ECONNREFUSED');
  assert.equal(await scene.relays.remove(KEY, 600_000), true);
});

test('a message that arrives while a drained replica ends is drained too', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.tell(1, 'slow', '1000');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
  await scene.relays.apply(group({ replicas: 1, ports }));
  while (!scene.lines.some((line) => line.startsWith('replica is told to end'))) await pause(20);
  scene.tell(1, 'messages', '1');
  await scene.until('Ready Draining+mail');
  while (scene.lines.filter((line) => line.startsWith('replica started')).length < 3) await pause(20);
  assert.equal(scene.states(), 'Ready Draining+mail');
  scene.tell(1, 'messages', '0');
  await scene.until('Ready Stopped');
});
