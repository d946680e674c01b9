/** Edits of listeners, in a relay whose sockets are its own: no process is replaced, and no session ends for them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { replicaStatus } from '../../cli/admin-client.ts';
import { Destination } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts } from '../harness/standalone.ts';

const WAIT_MS = 20_000;

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `never came: ${what}`);
    await pause(20);
  }
}

const isOpen = async (port: number): Promise<boolean> => {
  try {
    await using client = await SmtpClient.connect(port);
    return client.greeting.startsWith('220 ');
  } catch {
    return false;
  }
};

test('listeners come, move and go while a session of each goes on', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const [second = 0, third = 0] = await freePorts(2);
  await using first = await SmtpClient.connect(relay.port);
  await first.talk(['EHLO client.test', '250'], ['MAIL FROM:<a@example.test>', '250']);

  relay.setListeners([
    { name: 'local', protocol: 'Submission', port: relay.port },
    { name: 'other', protocol: 'Submission', port: second },
  ]);
  await until('another listener takes connections', () => isOpen(second));
  await using later = await SmtpClient.connect(second);
  await later.talk(['EHLO client.test', '250'], ['MAIL FROM:<b@example.test>', '250']);

  relay.setListeners([{ name: 'other', protocol: 'Submission', port: third }]);
  await until('it takes them at another port', () => isOpen(third));
  assert.equal(await isOpen(second), false);
  assert.equal(await isOpen(relay.port), false);

  for (const [session, name] of [
    [first, 'a'],
    [later, 'b'],
  ] as const) {
    await session.talk(['RCPT TO:<ada@example.org>', '250'], ['DATA', '354']);
    const reply = await session.content(`From: ${name}@example.test\r\nSubject: ${name}\r\n\r\nHello\r\n`);
    assert.match(reply, /^250 /);
  }
  await relay.untilEmpty();
  assert.deepEqual(destination.messages.map(({ from }) => from).toSorted(), ['a@example.test', 'b@example.test']);
  assert.equal(relay.life, 1);
});

test('a port that is taken makes the replica unready, says why, and is had once it is free', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const address = holder.address();
  assert.ok(typeof address === 'object' && address);

  relay.setListeners([
    { name: 'local', protocol: 'Submission', port: relay.port },
    { name: 'other', protocol: 'Submission', port: address.port },
  ]);
  await until('the reason is told', async () => {
    const { reasons } = await replicaStatus(relay.admin);
    return reasons.some((reason) => /listener other cannot be opened: .*EADDRINUSE/.test(reason));
  });
  assert.equal((await fetch(`http://127.0.0.1:${relay.monitoring}/readyz`)).status, 503);
  assert.equal(await isOpen(relay.port), true);

  holder.close();
  await once(holder, 'close');
  await until('the listener is open', () => isOpen(address.port));
  await until('the replica is ready', async () => (await replicaStatus(relay.admin)).ready);
});
