/** What an operator of one machine relies on: edits, wrong edits, kills of every process, and a clean end. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { createTransport } from 'nodemailer';
import { at, Destination } from '../harness/destination.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const RELAY = 'SmtpRelay/default/outbound';
const DOMAIN = 'MailDomain/default/example-test';
const USER = 'SmtpUser/default/app';

interface RelayWish {
  readonly port: number;
  readonly submission: number;
  readonly monitoring: number;
  readonly destination?: number;
  readonly replicas?: number;
  readonly drainTimeout?: string;
}

/** An SmtpRelay with a listener for clients of this machine, and one for SmtpUsers. */
const relay = ({
  port,
  submission,
  monitoring,
  destination = 9,
  replicas = 1,
  drainTimeout = '10m',
}: RelayWish): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  replicas: ${replicas}
  listeners:
    - {name: local, protocol: Submission, port: ${port}, tls: Optional, auth: {exemptNetworks: [127.0.0.0/8]}}
    - {name: submission, protocol: Submission, port: ${submission}}
  delivery:
    routes:
      - {match: {domains: ["*"]}, smarthosts: [{host: 127.0.0.1, port: ${destination}, tls: {mode: Disabled}}]}
    retry: {schedule: [1s], expireAfter: 10m}
  monitoring: {port: ${monitoring}}
  deletion: {drainTimeout: ${drainTimeout}}
`;

const domain = (name = 'example-test', of = 'example.test'): string => `
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: ${name}}
spec: {domain: ${of}, relayRefs: [{name: outbound}], dns: {verification: Disabled}}
`;

const USER_MANIFEST = `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {name: app}
spec: {relayRef: {name: outbound}, senders: ["*@example.test"], secret: {name: app-smtp}}
`;

/** The greeting of the relay at the port, or the code of the error. */
function greeting(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on('data', (data) => {
      text += data;
    });
    socket.once('data', () => socket.end('QUIT\r\n'));
    socket.on('error', (error) => resolve('code' in error ? String(error.code) : error.message));
    socket.on('close', () => resolve(text.slice(0, 9)));
  });
}

/** Connects again and again, two at a time, until it is told to end; tells what it met. */
function clients(port: number): AsyncDisposable & { end(): Promise<readonly string[]> } {
  let ended = false;
  const run = async (): Promise<readonly string[]> => {
    const met: string[] = [];
    while (!ended) met.push((await greeting(port)).replace(/^(\d{3}) .*/, '$1'));
    return met;
  };
  const running = Promise.all([run(), run()]);
  const end = async (): Promise<readonly string[]> => {
    ended = true;
    return (await running).flat();
  };
  return {
    end,
    [Symbol.asyncDispose]: async () => {
      await end();
    },
  };
}

async function send(port: number, subject: string): Promise<void> {
  const transport = createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
  await transport.sendMail({ from: 'shop@example.test', to: 'ada@example.org', subject, text: 'Hello' });
  transport.close();
}

/** A process that has ended may wait for its parent to ask: it is gone all the same. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

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
    'user.yaml': USER_MANIFEST,
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

test('edits take effect in the running processes, and what is wrong leaves the rest working', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }),
  });
  await standalone.untilReady(RELAY);
  const pids = standalone.replicaPids();
  await assert.rejects(send(port, 'too early'), /550 5\.7\.1/);

  standalone.write('domain.yaml', domain());
  standalone.write('rival.yaml', domain('rival'));
  standalone.write('lost.yaml', `${domain('lost', 'lost.test')}`.replace('outbound', 'nowhere'));
  standalone.write('wrong.yaml', domain('wrong', 'wrong.test').replace('spec:', 'specs:'));
  await standalone.untilReady(DOMAIN);
  await standalone.until('both refusals are told', () =>
    ['rival', 'lost'].every(
      (name) => standalone.condition(`MailDomain/default/${name}`, 'Accepted')?.status === 'False',
    ),
  );
  await send(port, 'in time');
  await destination.received(1);
  assert.match(
    readFileSync(join(standalone.state, 'problems.json'), 'utf8'),
    /"file": "wrong\.yaml",[^}]*"field": "spec/,
  );

  standalone.remove('domain.yaml');
  standalone.remove('rival.yaml');
  await standalone.until('the domain is gone', () => standalone.object(DOMAIN) === undefined);
  await standalone.until('mail of the domain is refused', () =>
    send(port, 'too late').then(
      () => false,
      (error) => /550 5\.7\.1/.test(String(error)),
    ),
  );
  assert.deepEqual(standalone.replicaPids(), pids);
});

test('other listeners replace the replicas, and no connection is refused', async () => {
  const [port = 0, submission = 0, added = 0, monitoring = 0] = await freePorts(5);
  const wish = { port, submission, monitoring, replicas: 2 };
  await using standalone = await Standalone.start({ 'relay.yaml': relay(wish) });
  await standalone.untilReady(RELAY);
  const before = [...standalone.replicaPids().values()];
  await using busy = clients(port);
  standalone.edit('relay.yaml', (text) =>
    text.replace('  listeners:', `  listeners:\n    - {name: added, protocol: Submission, port: ${added}}`),
  );
  await standalone.until('both replicas are replaced', () => {
    const now = [...standalone.replicaPids().values()];
    return now.every((pid) => !before.includes(pid)) && standalone.replicas(RELAY) === 'Ready Ready';
  });
  await standalone.untilReady(RELAY);
  const met = new Set(await busy.end());
  assert.ok(met.has('220'));
  // 421: the connection waited in a replica that was told to end.
  assert.deepEqual(
    [...met].filter((word) => word !== '220' && word !== '421'),
    [],
  );
  assert.equal(await greeting(added), '220 relay');
});

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
    'all.yaml': [relay({ port, submission, monitoring, replicas: 2 }), domain(), USER_MANIFEST].join('---'),
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
