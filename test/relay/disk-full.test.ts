/** A disk with no byte left: new mail is told to wait, what is queued goes out and is recorded, over a kill too. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { SpoolFull } from '../../relay/spool/spool.ts';
import { Destination, type Reaction, type Step } from '../harness/destination.ts';
import { page, samplesOf } from '../harness/monitoring.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { noSmallDisk, SmallDisk } from '../harness/small-disk.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { accept, envelope, openIn, over, to } from '../harness/spool.ts';

/** Well above the default of queue.minFree. */
const DISK_MIB = 216;
const CONTENT = `Subject: large\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(2400)}`;
const WAIT_MS = 60_000;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < giveUpAt, what);
    await pause(20);
  }
}

/** The reply to a message, or to the command that refused it. */
async function send(client: SmtpClient, recipient: string): Promise<string> {
  for (const command of ['MAIL FROM:<from@example.test>', `RCPT TO:<${recipient}>`, 'DATA']) {
    const reply = await client.say(command);
    if (!/^[23]/.test(reply)) return reply;
  }
  return client.content(`From: from@example.test\r\nTo: ${recipient}\r\n${CONTENT}`);
}

async function connect(relay: RelayProcess): Promise<SmtpClient> {
  const client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250-']);
  return client;
}

test('mail is refused with 452 while the disk is full, and none that was taken is lost or doubled', {
  skip: noSmallDisk(),
}, async () => {
  using disk = new SmallDisk(DISK_MIB);
  await using destination = await Destination.start();
  let left = 0;
  destination.react = (step: Step): Reaction | undefined => {
    if (step.at !== 'dot') return undefined;
    if (left === 0) return '451 4.2.1 Not now';
    left -= 1;
    return undefined;
  };
  const temporary = process.env.TMPDIR;
  process.env.TMPDIR = disk.path;
  await using relay = await RelayProcess.start(destination.port).finally(() => {
    if (temporary === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = temporary;
  });
  assert.ok(relay.spool.startsWith(disk.path));
  await until('room is kept for recording', () => existsSync(join(relay.spool, 'reserve')));

  const accepted: string[] = [];
  const refusals = await Promise.all(
    Array.from({ length: 4 }, async (_, session) => {
      await using client = await connect(relay);
      for (let n = 0; ; n++) {
        const recipient = `user-${session}-${n}@dest.test`;
        const reply = await send(client, recipient);
        if (!reply.startsWith('250 ')) return reply;
        accepted.push(recipient);
      }
    }),
  );
  for (const refusal of refusals)
    assert.equal(refusal, '452 4.3.1 the queue has no room for new mail now, try again later');
  assert.ok(accepted.length > 50, `${accepted.length} were taken`);
  assert.ok(disk.freeBytes > 64 * 2 ** 20, 'intake stopped well before the disk was full');
  assert.equal((await samplesOf([relay.monitoring])).get('chasqui_queue_full'), 1);
  assert.equal((await page(relay.monitoring, '/readyz')).status, 200);
  await relay.logged('why', (line) => line.message === 'the queue takes no mail');

  disk.fill();
  const half = Math.floor(accepted.length / 2);
  left = half;
  await until('half of it is delivered', () => destination.messages.length === half);
  const delivered = () => relay.lines().filter(({ event }) => event === 'delivered').length;
  await until('and that is recorded', () => delivered() === half);
  disk.fill();
  await relay.kill();
  disk.fill();

  left = accepted.length;
  await relay.run();
  await relay.untilEmpty();
  const recipients = destination.messages.flatMap(({ to }) => to);
  assert.deepEqual(recipients.toSorted(), accepted.toSorted(), 'each one arrived, and arrived once');
  {
    await using client = await connect(relay);
    assert.match(await client.say('MAIL FROM:<from@example.test>'), /^45[12] /);
  }

  disk.empty();
  await using client = await connect(relay);
  await until('mail is taken again', async () =>
    (await client.say('MAIL FROM:<from@example.test>')).startsWith('250 '),
  );
  await client.talk(['RSET', '250 ']);
  assert.match(await send(client, 'late@dest.test'), /^250 /);
  await until('it is delivered', () => destination.messages.at(-1)?.to[0] === 'late@dest.test');
  assert.equal((await samplesOf([relay.monitoring])).get('chasqui_queue_full'), 0);
});

test('the first outcome that finds no byte left is recorded in the room that is kept for it, with its notice', {
  skip: noSmallDisk(),
}, async (t) => {
  using disk = new SmallDisk(192);
  const folder = join(disk.path, 'spool');
  const first = await openIn(t, folder);
  const messages = await Promise.all(
    Array.from({ length: 50 }, (_, n) => accept(first, `message ${n} `.repeat(10_000))),
  );
  await first.close();
  // No WAL yet that could be written again in its place.
  const logged: string[] = [];
  const spool = await openIn(t, folder, { logged });
  await until('room is kept', () => existsSync(join(folder, 'reserve')));
  disk.fill();
  await assert.rejects(accept(spool, 'new'), SpoolFull);
  assert.ok(existsSync(join(folder, 'reserve')), 'new mail does not get the room');
  assert.equal(spool.health().hindrance?.kind, 'full');

  const notice = {
    envelope: envelope({ mailFrom: '' }),
    content: Buffer.alloc(100_000, 'notice '),
    deliveries: to('s@one.test'),
  };
  for (const message of messages.slice(0, 25)) await spool.record(over(message), [notice]);
  assert.ok(!existsSync(join(folder, 'reserve')), 'it is given up for them');
  for (const message of messages.slice(25)) await spool.record(over(message), []);
  assert.equal((await spool.stats()).messages, 25);
  await spool.close();
  disk.fill();

  const again = await openIn(t, folder, { logged });
  assert.equal((await again.stats()).messages, 25, 'and so it is after a start without a byte');
  disk.empty();
  await until('mail is taken again', () => again.health().hindrance === undefined);
  await accept(again, 'new');
  await until('room is kept again', () => existsSync(join(folder, 'reserve')));
  await again.close();
});
