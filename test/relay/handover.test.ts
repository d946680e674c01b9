/**
 * A replica that drains hands its mail to one that stays. Wherever either of them is killed, each message arrives once,
 * under the id that it was given, with what was known of it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { actOnQueue, queuedMessage, replicaStatus } from '../../cli/admin-client.ts';
import type { Step } from '../../relay/handover/steps.ts';
import { readIds } from '../../relay/spool/id-file.ts';
import { at, Destination, type Script } from '../harness/destination.ts';
import { type Peering, RelayProcess } from '../harness/relay-process.ts';
import { relayWith } from '../harness/relay-program.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const STEPS: readonly { readonly step: Step; readonly side: 'source' | 'peer' }[] = [
  { step: 'marked', side: 'source' },
  { step: 'sent', side: 'source' },
  { step: 'received', side: 'peer' },
  { step: 'adopted', side: 'peer' },
  { step: 'answered', side: 'source' },
  { step: 'finished', side: 'source' },
  { step: 'forgotten', side: 'peer' },
  { step: 'told', side: 'source' },
];
const PEERINGS: readonly Peering[] = ['unix sockets', 'TLS'];
const NONE = 'none';
/** Of one replica to one destination. */
const CONNECTIONS = 20;
/** Fits no row of the spool. */
const LARGE_LINES = 6_000;

interface Sent {
  readonly queueId: string;
  readonly content: string;
  readonly to: readonly string[];
}

/** Sends a message to recipients, of which those that begin with `later` are refused for now. */
async function send(replica: RelayProcess, name: string, lines: number, to: readonly string[]): Promise<Sent> {
  await using client = await SmtpClient.connect(replica.port, { host: replica.host });
  const content = `From: <app@example.test>\r\nSubject: ${name}\r\n\r\n${`This is ${name}.\r\n`.repeat(lines)}`;
  await client.talk(['EHLO client.test', '250'], ['MAIL FROM:<app@example.test>', '250']);
  for (const recipient of to) await client.talk([`RCPT TO:<${recipient}>`, '250']);
  await client.talk(['DATA', '354']);
  client.send(content);
  const reply = await client.say('.');
  const [, queueId] = /^250 .*\b([0-9A-Z]{9,})$/.exec(reply) ?? [];
  assert.ok(queueId, reply);
  return { queueId, content, to };
}

async function sendAll(replica: RelayProcess, round: string): Promise<readonly Sent[]> {
  const sent = [
    await send(replica, `${round}-half`, 3, [`at-once-${round}@dest.test`, `later-half-${round}@dest.test`]),
    await send(replica, `${round}-large`, LARGE_LINES, [`later-large-${round}@dest.test`]),
    await send(replica, `${round}-small`, 3, [`later-small-${round}@dest.test`]),
  ];
  for (const { queueId: id } of sent) {
    await replica.logged(`${id} is deferred`, ({ event, queueId }) => event === 'deferred' && queueId === id);
  }
  return sent;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 30_000; !(await holds()); await pause(20)) {
    assert.ok(performance.now() < endMs, `never came: ${what}`);
  }
}

/** Asserts that each recipient got its message once, whole, under its id, and with one signature for all attempts. */
function assertArrivedOnce(sent: readonly Sent[], destination: Destination): void {
  for (const { queueId, content, to } of sent) {
    const signatures = new Set<string>();
    for (const recipient of to) {
      const arrived = destination.messages.filter((message) => message.to.includes(recipient));
      assert.equal(arrived.length, 1, `to ${recipient}`);
      const data = arrived[0]?.data.toString('latin1') ?? '';
      assert.ok(data.endsWith(`\r\n${content}`), `the message to ${recipient} is as it was`);
      assert.match(data.replaceAll('\r\n', ' '), new RegExp(`^.*Received: .*\\bid ${queueId}\\b`));
      signatures.add(data.slice(0, data.indexOf('\r\nReceived:')));
    }
    assert.equal(signatures.size, 1, 'every attempt sent the same signature');
    assert.match([...signatures].join(''), /^DKIM-Signature:.*\r\nDKIM-Signature:/s);
  }
}

function rowsLeft(replica: RelayProcess): unknown {
  const db = new DatabaseSync(join(replica.spool, 'queue.db'), { readOnly: true });
  const counts = ['message', 'delivery', 'body', 'signature', 'moving', 'ledger', 'moved_here'].map(
    (table) => `(SELECT count(*) FROM ${table})`,
  );
  const row = db.prepare(`SELECT ${counts.join(' + ')} AS n`).get();
  db.close();
  return row?.n;
}

for (const peering of PEERINGS) {
  describe(`over ${peering}`, () => {
    test('either side killed at each step of a hand-over: nothing is lost, nothing arrives twice', async (t) => {
      let later = true;
      const react: Script = (step) =>
        later && step.at === 'rcpt' && step.argument.includes('<later') ? '451 4.2.1 Not now' : undefined;
      await using destination = await Destination.start({ react });
      const place = mkdtempSync(join(tmpdir(), 'steps-'));
      t.after(() => rmSync(place, { recursive: true, force: true }));
      const killAt = join(place, 'kill-at');
      writeFileSync(killAt, NONE);
      const wrap = relayWith({ killAt });
      const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, wrap, peering);
      assert.ok(peerOf && sourceOf);
      await using peer = peerOf;
      await using source = sourceOf;

      for (const { step, side } of STEPS) {
        later = true;
        peer.setReplicas(2);
        await until('the source is wanted', async () => !(await replicaStatus(source.admin)).draining);
        const sent = await sendAll(source, step);
        const [victim, other] = side === 'source' ? [source, peer] : [peer, source];
        writeFileSync(killAt, step);
        peer.setReplicas(1);
        await victim.killedByItself();
        writeFileSync(killAt, NONE);

        later = false;
        if (other === peer) {
          // What it has by now it delivers, before the source asks again.
          await peer.untilEmpty();
        } else if (step !== 'forgotten') {
          let status = await replicaStatus(source.admin);
          await until('the source says that it waits', async () => {
            status = await replicaStatus(source.admin);
            return /spool|replica 0/.test(status.handover?.problem ?? '');
          });
          assert.equal(status.queue.moving, status.queue.messages);
        }
        await victim.run(wrap);
        await source.untilEmpty();
        await peer.untilEmpty();
        assertArrivedOnce(sent, destination);
        t.diagnostic(`${step}: ${sent.length} messages, each once`);
      }
      await until('the peer is told to forget', async () => {
        const [told] = source.lines().filter(({ message }) => message === 'hand-over is over');
        return told !== undefined;
      });
      for (const replica of [source, peer]) {
        replica.terminate();
        await replica.ended();
        assert.equal(rowsLeft(replica), 0);
      }
    });

    test('a message on hold stays on hold where it moves, and is acted on there by its id', async () => {
      await using destination = await Destination.start({ react: at('rcpt', '451 4.2.1 Not now') });
      const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, [], peering);
      assert.ok(peerOf && sourceOf);
      await using peer = peerOf;
      await using source = sourceOf;
      const held = await send(source, 'held', 3, ['later@dest.test']);
      await source.logged('it is deferred', ({ event }) => event === 'deferred');
      await actOnQueue(source.admin, 'hold', { ids: [held.queueId] });
      const before = await queuedMessage(source.admin, held.queueId);
      assert.ok(before?.deliveries[0]?.heldMs !== undefined);
      destination.react = () => undefined;

      peer.setReplicas(1);
      await source.untilEmpty();
      assert.equal(await queuedMessage(source.admin, held.queueId), undefined);
      const { envelope, deliveries } =
        (await queuedMessage(peer.admin, held.queueId)) ?? assert.fail('it is at the peer');
      assert.deepEqual(envelope, { ...before.envelope, queueId: held.queueId });
      assert.deepEqual(deliveries, before.deliveries);
      assert.deepEqual(destination.messages, []);

      const { messages } = await actOnQueue(peer.admin, 'release', { ids: [held.queueId] });
      assert.deepEqual(messages, [{ queueId: held.queueId, recipients: 1, result: 'done' }]);
      await peer.untilEmpty();
      assertArrivedOnce([held], destination);
    });

    test('what waits in memory for a destination that hangs is handed over, and what is under way stays', async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      // Its connections of the source hang; what comes later is answered.
      let hanging = CONNECTIONS;
      const react: Script = async (step) => {
        if (step.at === 'dot' && hanging-- > 0) await promise;
        return undefined;
      };
      await using destination = await Destination.start({ react });
      const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, [], peering);
      assert.ok(peerOf && sourceOf);
      await using peer = peerOf;
      await using source = sourceOf;
      const sent: Sent[] = [];
      for (let i = 0; i < CONNECTIONS + 10; i++) sent.push(await send(source, `${i}`, 3, [`ann-${i}@dest.test`]));
      await destination.until(() => hanging <= 0);
      peer.setReplicas(1);
      await peer.logged('those that wait are delivered by the peer', ({ event }) => event === 'delivered', 10);
      assert.equal((await replicaStatus(source.admin)).queue.messages, CONNECTIONS);
      resolve();
      await source.untilEmpty();
      await peer.untilEmpty();
      // Whatever it has begun it ends.
      source.terminate();
      await source.ended();
      assertArrivedOnce(sent, destination);
    });

    test('a message whose mark is damaged stays and is told, the others are handed over', async () => {
      await using destination = await Destination.start({ react: at('rcpt', '451 4.2.1 Not now') });
      const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, [], peering);
      assert.ok(peerOf && sourceOf);
      await using peer = peerOf;
      await using source = sourceOf;
      const damaged = await send(source, 'damaged', 3, ['damaged@dest.test']);
      const fine = await send(source, 'fine', 3, ['fine@dest.test']);
      await source.logged('both are deferred', ({ event }) => event === 'deferred', 2);
      source.terminate();
      await source.ended();
      const ids = readIds(peer.spool);
      assert.ok(typeof ids === 'object');
      const db = new DatabaseSync(join(source.spool, 'queue.db'));
      db.prepare('INSERT INTO moving (message, peer, due) SELECT min(id), ?, ? FROM message').run(ids.spoolId, '{');
      db.exec('UPDATE delivery SET due = NULL WHERE message IN (SELECT message FROM moving)');
      db.close();

      peer.setReplicas(1);
      await source.run();
      const isAtPeer = async () => (await queuedMessage(peer.admin, fine.queueId)) !== undefined;
      await until('the other one is at the peer', isAtPeer);
      await until('the damage is told', async () =>
        /moves to another spool cannot be read/.test((await replicaStatus(source.admin)).handover?.problem ?? ''),
      );
      assert.ok(await queuedMessage(source.admin, damaged.queueId), 'it is kept');
      destination.react = () => undefined;
      await peer.untilEmpty();
      assertArrivedOnce([fine], destination);
    });
  });
}
