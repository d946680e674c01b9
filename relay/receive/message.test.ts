/** Messages on their way to the spool, and what becomes of those that do not arrive there. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { Receiving } from '../../test/harness/receiving.ts';
import type { SmtpClient } from '../../test/harness/smtp-client.ts';
import { BODY_FOLDER } from '../spool/body-file.ts';
import { type Intake, type Spool, SpoolUnavailable } from '../spool/spool.ts';

const HEADER = 'From: app@example.test\r\nSubject: hi\r\n\r\n';

const BEGUN = `
  C: MAIL FROM:<app@example.test>
  S: 250 2.1.0
  C: RCPT TO:<ana@dest.test>
  S: 250 2.1.5
  C: DATA
  S: 354`;

/** The spool with some methods of its intakes replaced. */
const withIntake = (replace: (intake: Intake) => Partial<Intake>) => (spool: Spool) => ({
  open(): Intake {
    const intake = spool.open();
    return {
      queueId: intake.queueId,
      write: (chunk) => intake.write(chunk),
      commit: (envelope, deliveries) => intake.commit(envelope, deliveries),
      abort: () => intake.abort(),
      ...replace(intake),
    };
  },
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, 'it did not come true');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const bodyFiles = (relay: Receiving): Promise<readonly string[]> => readdir(join(relay.folder, BODY_FOLDER));

async function nothingIsKept(relay: Receiving): Promise<void> {
  assert.deepEqual(relay.accepted, []);
  assert.equal((await relay.spool.stats()).messages, 0);
  await until(async () => (await bodyFiles(relay)).length === 0);
}

async function sendsMore(client: SmtpClient, relay: Receiving): Promise<void> {
  const before = relay.accepted.length;
  await client.play(BEGUN);
  assert.match(await client.content(`${HEADER}next\r\n`), /^250 2\.6\.0 /);
  assert.equal(relay.accepted.length, before + 1);
}

test('a spool that begins nothing is told as 451, and the transaction may go on when it does', async () => {
  let full = true;
  await using relay = await Receiving.start(undefined, (spool) => ({
    open() {
      if (full) throw new SpoolUnavailable('no room');
      return spool.open();
    },
  }));
  await using client = await relay.session('local');
  await client.play(`${BEGUN.replace('S: 354', 'S: 451 4.3.0')}`);
  full = false;
  await client.play('C: DATA\nS: 354');
  assert.match(await client.content(`${HEADER}x\r\n`), /^250 /);
});

test('a spool that cannot commit is told as 451, and the session goes on', async () => {
  let failing = true;
  const fail = (intake: Intake): Partial<Intake> => ({
    async commit(envelope, deliveries) {
      if (!failing) return await intake.commit(envelope, deliveries);
      await intake.abort();
      throw new SpoolUnavailable('the disk is full');
    },
  });
  await using relay = await Receiving.start(undefined, withIntake(fail));
  await using client = await relay.session('local');
  await client.play(BEGUN);
  assert.match(await client.content(`${HEADER}x\r\n`), /^451 4\.3\.0 /);
  assert.match(relay.log.join(), /error a message was not taken.*the disk is full/);
  await nothingIsKept(relay);
  await client.play('C: DATA\nS: 503 5.5.1');
  failing = false;
  await sendsMore(client, relay);
});

test('a fault of ours is told as 451 and logged, and the session goes on', async () => {
  let failing = true;
  await using relay = await Receiving.start(undefined, (spool) => ({
    open() {
      if (failing) throw new TypeError('a bug');
      return spool.open();
    },
  }));
  await using client = await relay.session('local');
  await client.play(BEGUN.replace('S: 354', 'S: 451 4.3.0'));
  assert.match(relay.log.join(), /error a command failed.*a bug/);
  failing = false;
  await client.play('C: DATA\nS: 354');
  assert.match(await client.content(`${HEADER}x\r\n`), /^250 /);
});

/** So many turns of the event loop: in one of them the relay sees all that has been sent to it. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 500; turn++) await new Promise((resolve) => setImmediate(resolve));
}

for (const [what, ending, kept] of [
  ['right behind the final dot is answered, however long the disk takes', '\r\n.\r\n', true],
  ['before the final dot leaves nothing', '\r\n', false],
] as const) {
  test(`a client that ends its side ${what}`, async () => {
    const { promise: written, resolve: release } = Promise.withResolvers<void>();
    const slow = (intake: Intake): Partial<Intake> => ({
      write: (chunk) => Promise.resolve(intake.write(chunk)).then(() => written),
    });
    await using relay = await Receiving.start(undefined, withIntake(slow));
    await using client = await relay.session('local');
    await client.play(BEGUN);
    client.socket.end(`${HEADER}${'x'.repeat(998)}${ending}`);
    await once(client.socket, 'finish');
    await turns();
    release();
    assert.match(await client.ended(), kept ? /^250 2\.6\.0 queued as \w+\r\n$/ : /^$/);
    if (kept) assert.equal(relay.accepted.length, 1);
    else await nothingIsKept(relay);
  });
}

for (const fault of ['observer', 'onAccepted'] as const) {
  test(`a fault after the commit (${fault}) is told to the operator; the client is told 250, and sends it once`, async () => {
    await using relay = await Receiving.start();
    relay.fault = fault;
    await using client = await relay.session('local');
    await client.play(BEGUN);
    assert.match(await client.content(`${HEADER}x\r\n`), /^250 2\.6\.0 queued as /);
    assert.match(relay.log.join(), /error a message was taken, and a step behind that failed.*a bug/);
    assert.equal((await relay.spool.stats()).messages, 1);
    // The other step is done all the same.
    assert.deepEqual([relay.messageEvents.length, relay.accepted.length], fault === 'observer' ? [0, 1] : [1, 0]);
  });
}

for (const [what, bytes] of [
  ['a small', 1_000],
  ['a large', 1_000_000],
] as const) {
  test(`a client that leaves in the middle of ${what} message leaves nothing`, async () => {
    await using relay = await Receiving.start();
    relay.limits({ messageSizeBytes: 10_000_000 });
    const client = await relay.session('local');
    await client.play(BEGUN);
    client.send(HEADER + `${'x'.repeat(78)}\r\n`.repeat(bytes / 80));
    if (bytes > 500_000) await until(async () => (await bodyFiles(relay)).length === 1);
    client.drop();
    await nothingIsKept(relay);
    await using next = await relay.session('local');
    await sendsMore(next, relay);
  });
}

test('a client that resets its connection before the last of its message is written leaves nothing, and it is no error', async () => {
  const { promise: written, resolve: write } = Promise.withResolvers<void>();
  let writing = false;
  let aborted = false;
  await using relay = await Receiving.start(
    undefined,
    withIntake((intake) => ({
      write() {
        writing = true;
        return written;
      },
      async abort() {
        await intake.abort();
        aborted = true;
      },
    })),
  );
  const client = await relay.session('local');
  await client.play(BEGUN);
  client.send(`${HEADER}x\r\n.\r\n`);
  await until(() => writing);
  // One that only ends its side may wait for the answer.
  client.socket.resetAndDestroy();
  await until(() => aborted);
  write();
  await new Promise((turn) => setImmediate(turn));
  await nothingIsKept(relay);
  assert.deepEqual(relay.log, []);
});

test('a message over the limit is refused after its end, and the session goes on', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(BEGUN);
  assert.match(await client.content(`${HEADER}${'x'.repeat(100_000)}\r\n`), /^552 5\.3\.4 /);
  await nothingIsKept(relay);
  await sendsMore(client, relay);
});

test('a message of the very size that is allowed is taken', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(BEGUN);
  const body = `${'x'.repeat(100_000 - HEADER.length - 2)}\r\n`;
  assert.match(await client.content(HEADER + body), /^250 /);
  await client.play(BEGUN);
  assert.match(await client.content(`${HEADER}x${body}`), /^552 5\.3\.4 /);
});

test('a header of 256 KiB is the largest one', async () => {
  await using relay = await Receiving.start();
  relay.limits({ messageSizeBytes: 10_000_000 });
  await using client = await relay.session('local');
  const field = `X-Long: ${'x'.repeat(988)}\r\n`;
  const header = (bytes: number) => {
    const fields = HEADER.slice(0, -2) + field.repeat(Math.floor((bytes - HEADER.length) / field.length));
    return `${fields}Y:${'y'.repeat(bytes - fields.length - 4)}\r\n\r\n`;
  };
  await client.play(BEGUN);
  // Without the blank line.
  assert.match(await client.content(`${header(256 * 1024 + 3)}x\r\n`), /^552 5\.3\.4 the header /);
  await nothingIsKept(relay);
  await client.play(BEGUN);
  assert.match(await client.content(`${header(256 * 1024)}x\r\n`), /^250 /);
});

test('lines that are too long are broken before the message is signed, in the header and in the body', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(BEGUN);
  const long = 'x'.repeat(1_500);
  assert.match(await client.content(`Subject: ${long}\r\nFrom: app@signed.test\r\n\r\n${long}\r\nnext\r\n`), /^250 /);
  const content = relay.content();
  assert.ok(content.split('\r\n').every((line) => line.length <= 998));
  assert.ok(content.includes(`\r\nSubject: ${'x'.repeat(989)}\r\n ${'x'.repeat(511)}\r\n`));
  assert.ok(content.endsWith(`\r\n${'x'.repeat(998)}\r\n ${'x'.repeat(502)}\r\nnext\r\n`));
  // What is signed is what was stored.
  const event = relay.messageEvents.at(-1);
  const body = content.slice(content.indexOf('\r\n\r\n') + 4);
  const hash = createHash('sha256').update(body).digest('base64');
  assert.equal(event?.event === 'received' && event.envelope.bodyHash, hash);
});

test('a message that does not end is cut', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(BEGUN);
  client.send(HEADER);
  const ended = client.ended();
  const line = Buffer.from(`${'x'.repeat(78)}\r\n`.repeat(200));
  let sentBytes = 0;
  while (!client.socket.destroyed && !client.socket.readableEnded && sentBytes < 64 * 1024 * 1024) {
    client.send(line);
    sentBytes += line.length;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.match(await ended, /^421 4\.3\.4 /);
  await nothingIsKept(relay);
});
