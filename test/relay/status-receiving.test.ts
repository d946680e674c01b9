/**
 * A replica tells how many transactions are under way: each may become a message of its queue yet, so a replica that is
 * to go is not done before.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { replicaStatus } from '../../cli/admin-client.ts';
import { at, Destination } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

test('a transaction is told from MAIL to the answer to its final dot, also by a replica that drains', async () => {
  await using destination = await Destination.start({ react: at('rcpt', '451 4.2.1 Not now') });
  await using relay = await RelayProcess.start(destination.port);
  const queue = async () => {
    const { messages, receiving } = (await replicaStatus(relay.admin)).queue;
    return { messages, receiving };
  };

  await using client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250']);
  assert.deepEqual(await queue(), { messages: 0, receiving: undefined });
  await client.talk(['MAIL FROM:<app@example.test>', '250']);
  assert.deepEqual(await queue(), { messages: 0, receiving: 1 });

  relay.setReplicas(0);
  for (const endMs = performance.now() + 30_000; !(await replicaStatus(relay.admin)).draining; await pause(20)) {
    assert.ok(performance.now() < endMs, 'never drained');
  }
  await client.talk(['RCPT TO:<to@dest.test>', '250'], ['DATA', '354']);
  assert.deepEqual(await queue(), { messages: 0, receiving: 1 });
  assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  assert.deepEqual(await queue(), { messages: 1, receiving: undefined });
});

test('a transaction that is given up, or whose client is gone, is over', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const receiving = async () => (await replicaStatus(relay.admin)).queue.receiving;

  await using client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250'], ['MAIL FROM:<app@example.test>', '250'], ['RSET', '250']);
  assert.equal(await receiving(), undefined);
  await client.talk(['MAIL FROM:<app@example.test>', '250']);
  assert.equal(await receiving(), 1);
  client.drop();
  for (const endMs = performance.now() + 30_000; (await receiving()) !== undefined; await pause(20)) {
    assert.ok(performance.now() < endMs, 'never over');
  }
});
