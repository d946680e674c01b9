import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts } from '../../test/harness/standalone.ts';
import { serveMonitoring } from './monitoring.ts';

const DEADLINE_MS = 20_000;

/** Monitoring at a port that a test moves. */
function scene(first: number) {
  const changes = new EventEmitter();
  const lines: string[] = [];
  let port = first;
  const monitoring = serveMonitoring({
    host: '127.0.0.1',
    port: () => port,
    onChange: (listener) => {
      changes.on('change', listener);
      return () => changes.off('change', listener);
    },
    handler: async () => ({ code: 200, type: 'text/plain', text: 'here' }),
    observer: { log: (_, message) => void lines.push(message) },
  });
  return {
    monitoring,
    lines,
    move: (to: number) => {
      port = to;
      changes.emit('change');
    },
    [Symbol.asyncDispose]: () => monitoring.close(),
  };
}

const serves = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/`).then(
    async (response) => (await response.text()) === 'here',
    () => false,
  );

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, 'never came');
    await pause(10);
  }
}

test('monitoring moves to another port, and leaves the former one', async () => {
  const [former = 0, next = 0] = await freePorts(2);
  await using moving = scene(former);
  await until(() => serves(former));
  moving.move(next);
  await until(() => serves(next));
  assert.equal(await serves(former), false);
});

test('a port that another program holds is told once; what is served goes on, and moves when the port is free', async () => {
  const [former = 0, taken = 0] = await freePorts(2);
  const other = createServer((socket) => socket.destroy()).listen(taken, '127.0.0.1');
  await once(other, 'listening');
  await using moving = scene(former);
  await until(() => serves(former));
  moving.move(taken);
  await until(() => moving.monitoring.problem !== undefined);
  assert.match(moving.monitoring.problem ?? '', new RegExp(`^monitoring cannot be served: .*EADDRINUSE.*${taken}`));
  assert.ok(await serves(former));
  other.close();
  await until(() => serves(taken));
  await until(() => moving.monitoring.problem === undefined);
  assert.equal(moving.lines.length, 1);
});

test('nothing is served once it is closed, though it was about to move', async () => {
  const [former = 0, next = 0] = await freePorts(2);
  const moving = scene(former);
  await until(() => serves(former));
  moving.move(next);
  await moving.monitoring.close();
  assert.deepEqual([await serves(former), await serves(next)], [false, false]);
});
