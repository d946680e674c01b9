import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts } from '../../../test/harness/standalone.ts';
import { clients, greeting, group, isAlive, KEY, pidOf, REPLICA, Scene } from './fixtures/scene.ts';

test('replicas run by the config, share the port, and tell what they do', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  const wanted = group({ replicas: 2, ports });
  await scene.relays.apply(wanted);
  await scene.until('Ready Ready');
  assert.deepEqual(
    scene.relays.observe(KEY).map(({ version, configHash }) => [version, configHash]),
    [0, 1].map(() => ['0.1.0', wanted.configHash]),
  );
  assert.match(await greeting(ports[0] ?? 0), /^220 [01] \d+$/);
});

test('a replica is given the arguments of its ordinal and nothing of our environment', async (t) => {
  process.env.SMTP_PASSWORD = 'secret';
  t.after(() => {
    delete process.env.SMTP_PASSWORD;
  });
  const scene = new Scene(t);
  await scene.relays.apply(group({ replicas: 2, ports: await freePorts(2) }));
  await scene.until('Ready Ready');
  const read = (name: string): unknown => JSON.parse(readFileSync(path.join(scene.spool(1), name), 'utf8'));
  assert.deepEqual(read('arguments.json'), [
    'relay',
    ...['--config', path.join(scene.state, 'config/default/outbound')],
    ...['--spool', scene.spool(1), '--references', path.join(scene.state, 'secrets/default'), '--ordinal', '1'],
    ...['--admin', path.join(scene.state, 'run/default.outbound-1.sock')],
    // Metrics are for this machine alone, wherever mail is taken.
    ...['--monitoring', '127.0.0.1', '--monitoring-offset', '1', '--supervised'],
  ]);
  assert.equal((read('environment.json') as Record<string, string>).SMTP_PASSWORD, undefined);
  assert.equal((read('environment.json') as Record<string, string>).PATH, process.env.PATH);
});

test('an edit of the config reaches the running process', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  await scene.relays.apply(group({ ports }));
  await scene.until('Ready');
  const before = await greeting(ports[0] ?? 0);
  const edited = group({ ports, edit: 'other' });
  await scene.relays.apply(edited);
  await scene.until(([replica]) => replica?.configHash === edited.configHash);
  assert.equal(await greeting(ports[0] ?? 0), before);
});

test('a replica that is killed is started again, and no connection is refused meanwhile', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  const [port = 0] = ports;
  await scene.relays.apply(group({ ports }));
  await scene.until('Ready');
  const pid = pidOf(await greeting(port));
  process.kill(pid, 'SIGKILL');
  await scene.until('Unready');
  const waiting = greeting(port);
  await scene.until('Ready');
  assert.match(await waiting, /^220 0 \d+$/);
  assert.notEqual(pidOf(await waiting), pid);
});

test('a replica that cannot start is told, and is tried again with growing pauses', async (t) => {
  const scene = new Scene(t);
  scene.tell(0, 'crash');
  await scene.relays.apply(group({ ports: await freePorts(1) }));
  await scene.until(([replica]) => replica?.problem?.reason === 'ReplicaFailed');
  assert.match(
    scene.relays.observe(KEY)[0]?.problem?.message ?? '',
    /replica 0 ended with code 3; it is started again/,
  );
  rmSync(path.join(scene.spool(0), 'crash'));
  await scene.until('Ready');
  assert.match(scene.lines.join('\n'), /"retryMs":0.*"retryMs":1000/s);
});

test('listeners come and go in the running processes, and no connection to a kept port is refused', async (t) => {
  const scene = new Scene(t);
  const [kept = 0, old = 0, added = 0] = await freePorts(3);
  await scene.relays.apply(group({ replicas: 2, ports: [kept, old] }));
  await scene.until('Ready Ready');
  await using busy = clients(kept);
  const wanted = group({ replicas: 2, ports: [kept, added] });
  await scene.relays.apply(wanted);
  await scene.until((replicas) => replicas.every(({ configHash }) => configHash === wanted.configHash));
  while ((await greeting(old)) !== 'ECONNREFUSED') await pause(20);
  assert.match(await greeting(added), /^220 /);
  const greetings = await busy.end();
  assert.deepEqual([...new Set(greetings.map((text) => text.slice(0, 4)))], ['220 ']);
  assert.equal(scene.lines.filter((line) => line.startsWith('replica started')).length, 2);
});

test('a port that one relay gives up is had by another, once no replica listens on it', async (t) => {
  const scene = new Scene(t);
  const [port = 0, other = 0] = await freePorts(2);
  const second = { ...group({ ports: [port] }), name: 'second' };
  await scene.relays.apply(group({ ports: [port] }));
  await scene.until('Ready');
  await scene.relays.apply(second);
  assert.match(scene.relays.observe(second)[0]?.problem?.message ?? '', /is used by SmtpRelay default\/outbound/);
  await scene.relays.apply(group({ ports: [other] }));
  while (scene.relays.observe(second)[0]?.state !== 'Ready') await pause(20);
  assert.match(await greeting(port), /^220 /);
  assert.match(await greeting(other), /^220 /);
});

test('a port that another program holds is told, and had when it is free', async (t) => {
  const scene = new Scene(t);
  const other = net.createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await scene.relays.apply(group({ ports: [port] }));
  assert.equal(scene.relays.observe(KEY)[0]?.problem?.reason, 'AddressInUse');
  await once(other.close(), 'close');
  await scene.until(([replica]) => replica?.state === 'Ready' && replica.problem === undefined);
});

test('running replicas go on while a new port cannot be had', async (t) => {
  const scene = new Scene(t);
  const other = net.createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const [port = 0] = await freePorts(1);
  await scene.relays.apply(group({ ports: [port] }));
  await scene.until('Ready');
  const before = await greeting(port);
  await scene.relays.apply(group({ ports: [port, (other.address() as AddressInfo).port] }));
  await scene.until(([replica]) => replica?.state === 'Ready' && replica.problem?.reason === 'AddressInUse');
  assert.equal(await greeting(port), before);
  await once(other.close(), 'close');
  await scene.until(([replica]) => replica?.state === 'Ready' && replica.problem === undefined);
});

test('stopping ends every replica, one that does not listen too, and closes the ports', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  scene.restart(500);
  scene.tell(1, 'stubborn');
  await scene.relays.apply(group({ replicas: 2, ports }));
  await scene.until('Ready Ready');
  const pids = scene.lines.flatMap((line) => /replica started .*"pid":(\d+)/.exec(line)?.[1] ?? []).map(Number);
  assert.equal(pids.length, 2);
  await scene.relays.stop();
  assert.deepEqual(pids.map(isAlive), [false, false]);
  assert.equal(await greeting(ports[0] ?? 0), 'ECONNREFUSED');
  assert.match(scene.lines.join('\n'), /replica did not end in time: was ended by SIGKILL/);
});

test('replicas of a supervisor that is killed end by themselves, and the next supervisor waits for them', async (t) => {
  const scene = new Scene(t);
  const ports = await freePorts(1);
  const [port = 0] = ports;
  scene.tell(0, 'slow', '500');
  const { documents, ...rest } = group({ ports });
  const supervisor = spawn(
    process.execPath,
    [
      '--input-type=module-typescript',
      '-e',
      SUPERVISOR,
      scene.state,
      REPLICA,
      JSON.stringify({ ...rest, documents: [...documents] }),
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  t.after(() => supervisor.kill('SIGKILL'));
  const socket = path.join(scene.state, 'run/default.outbound-0.sock');
  let greeted = '';
  while (!(existsSync(socket) && greeted.startsWith('220 '))) {
    await pause(20);
    greeted = await greeting(port);
  }
  const former = pidOf(greeted);
  supervisor.kill('SIGKILL');
  await once(supervisor, 'exit');
  assert.ok(isAlive(former));
  await scene.relays.start(new AbortController().signal);
  assert.match(scene.lines.join('\n'), /waiting for the replicas of a former process to end.*default\.outbound-0/);
  await scene.relays.apply(group({ ports }));
  await scene.until('Ready');
  assert.notEqual(pidOf(await greeting(port)), former);
});

const at = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);
const SUPERVISOR = `
import { HostRelays } from ${at('./relays.ts')};
import { Ports } from ${at('./ports.ts')};
const [state, replica, group] = process.argv.slice(1);
const quiet = () => {};
const relays = new HostRelays(state, {
  ports: new Ports('127.0.0.1'), program: [process.execPath, replica], graceMs: 5000, nowMs: Date.now,
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
await relays.start(new AbortController().signal);
const { documents, ...rest } = JSON.parse(group);
await relays.apply({ ...rest, documents: new Map(documents) });
`;

test('a state folder whose path is too long for sockets is told', async (t) => {
  const scene = new Scene(t);
  const name = 'x'.repeat(40);
  const long = { ...group({ ports: await freePorts(1) }), namespace: 'y'.repeat(63), name };
  await scene.relays.apply(long);
  const [replica] = scene.relays.observe(long);
  assert.equal(replica?.problem?.reason, 'StatePathTooLong');
  assert.match(replica.problem.message, /bytes too long .*choose a shorter --state or name/);
});
