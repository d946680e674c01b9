import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CONFIG, Receiving } from '../../test/harness/receiving.ts';
import type { SmtpClient } from '../../test/harness/smtp-client.ts';
import type { UserDocument } from '../config/documents.ts';
import { slotOf } from '../spool/usage.ts';
import { Quotas, shareOf } from './quotas.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

class Sender {
  nowMs = Date.parse('2026-03-01T12:00:00Z');
  readonly quotas = new Quotas([], 0, () => this.nowMs);
  readonly #user: UserDocument;

  constructor(quota: UserDocument['quota']) {
    const [user] = CONFIG.users.values();
    assert.ok(user && quota);
    this.#user = { ...user, quota };
  }

  /** Sends messages of one recipient for as long as they are taken. */
  send(wanted = Number.POSITIVE_INFINITY): number {
    const { username, quota } = this.#user;
    let sent = 0;
    for (; sent < wanted && this.quotas.take(username, quota, 1) === undefined; sent += 1) {
      const usage = this.quotas.usage(this.#user, 1);
      assert.ok(usage);
      this.quotas.count(usage);
      this.quotas.giveBack(username, 1);
    }
    return sent;
  }

  wait(ms: number): this {
    this.nowMs += ms;
    return this;
  }
}

describe('a quota', () => {
  test('is never exceeded in any hour, wherever that hour begins', () => {
    const sender = new Sender({ recipientsPerHour: 20 });
    const sentAt: number[] = [];
    for (let minute = 0; minute < 300; minute += 1) {
      for (let n = sender.send(1); n > 0; n -= 1) sentAt.push(minute);
      sender.wait(MINUTE);
    }
    for (let start = 0; start < 300; start += 1) {
      assert.ok(sentAt.filter((minute) => minute >= start && minute < start + 60).length <= 20);
    }
    // Twenty in each hour and the five minutes in which they are counted together, and no less.
    assert.ok(sentAt.length >= 4 * 20, `${sentAt.length} were sent`);
  });

  test('of a day and of an hour hold both', () => {
    const sender = new Sender({ recipientsPerHour: 10, recipientsPerDay: 25 });
    assert.deepEqual(
      Array.from({ length: 24 }, () => {
        const sent = sender.send();
        sender.wait(HOUR + 5 * MINUTE);
        return sent;
      }).slice(0, 5),
      [10, 10, 5, 0, 0],
    );
    assert.equal(sender.wait(DAY).send(), 10);
  });

  test('counts from now what a clock that was set back has put into the future', () => {
    const sender = new Sender({ recipientsPerHour: 10 });
    sender.wait(1000 * DAY).send(10);
    assert.equal(sender.wait(-1000 * DAY).send(), 0);
    assert.equal(sender.wait(HOUR + 5 * MINUTE).send(), 10);
  });

  test('has its shares by replica, which are the limit together', () => {
    for (const [limit, replicas] of [
      [100, 2],
      [100, 3],
      [7, 7],
      [1_000_000_000, 9],
    ] as const) {
      const shares = Array.from({ length: replicas }, (_, ordinal) => shareOf(limit, ordinal, replicas));
      assert.equal(
        shares.reduce((sum, share) => sum + share),
        limit,
      );
      assert.ok(Math.max(...shares) - Math.min(...shares) <= 1);
    }
    assert.deepEqual([shareOf(1, 0, 3), shareOf(1, 2, 3)], [1, 1], 'no replica refuses all');
  });
});

const QUOTA = { recipientsPerHour: 3 };

async function start(t: { after: (step: () => Promise<void>) => void }): Promise<Receiving> {
  const [user] = CONFIG.users.values();
  assert.ok(user);
  const relay = await Receiving.start({ ...CONFIG, users: new Map([[user.username, { ...user, quota: QUOTA }]]) });
  t.after(() => relay[Symbol.asyncDispose]());
  return relay;
}

const FULL = '450 4.7.1 your quota of 3 recipients per hour is used up, try later';
const MAIL = ['MAIL FROM:<a@example.test>', '250 '] as const;
const rcpt = (name: string, reply = '250 ') => [`RCPT TO:<${name}@dest.test>`, reply] as const;
const CONTENT = 'From: a@example.test\r\n\r\nHello\r\n';

async function send(client: SmtpClient, ...names: readonly string[]): Promise<void> {
  await client.talk(MAIL, ...names.map((name) => rcpt(name)), ['DATA', '354 ']);
  assert.match(await client.content(CONTENT), /^250 /);
}

test('a recipient over the quota is refused for now, and those before it get the message', async (t) => {
  const relay = await start(t);
  await using client = await relay.session();
  await send(client, 'a');
  await client.talk(MAIL, rcpt('b'), rcpt('c'), rcpt('d', FULL), ['DATA', '354 ']);
  assert.match(await client.content(CONTENT), /^250 /);
  assert.deepEqual(
    relay.accepted.at(-1)?.deliveries.flatMap(({ recipients }) => recipients.map(({ address }) => address)),
    ['b@dest.test', 'c@dest.test'],
  );
  await client.talk(MAIL, rcpt('b', FULL));
  assert.deepEqual(relay.rejections(), ['rcpt quota_used_up 450 4.7.1', 'rcpt quota_used_up 450 4.7.1']);
});

test('only what is taken counts: not a recipient that is refused or named twice, nor a message that is', async (t) => {
  const relay = await start(t);
  await using client = await relay.session();
  for (let round = 0; round < 4; round += 1) {
    await client.talk(MAIL, ['RCPT TO:<nobody>', '553 '], ['RCPT TO:<a@null-mx.test>', '556 '], rcpt('a'), rcpt('a'));
    await client.talk(['RSET', '250 '], MAIL, rcpt('a'), ['EHLO again', '250-'], MAIL, rcpt('a'), ['DATA', '354 ']);
    assert.match(await client.content('From: other@elsewhere.test\r\n\r\nforged\r\n'), /^550 5\.7\.1 /);
    await using drops = await relay.session();
    await drops.talk(MAIL, rcpt('a'), rcpt('b'), ['DATA', '354 ']);
    drops.send('From: a@example.test\r\n');
    drops.drop();
    await using quits = await relay.session();
    await quits.talk(MAIL, rcpt('a'), ['QUIT', '221 ']);
    await quits.ended();
  }
  // The server sees a moment later that a client has left.
  const deadline = Date.now() + 20_000;
  const three = [rcpt('a'), rcpt('b'), rcpt('c')] as const;
  for (;;) {
    await client.talk(MAIL);
    const replies = [];
    for (const [line] of three) replies.push(await client.say(line));
    if (replies.every((reply) => reply.startsWith('250 '))) break;
    assert.ok(Date.now() < deadline, replies.join());
    await client.talk(['RSET', '250 ']);
  }
  await client.talk(rcpt('d', FULL), ['DATA', '354 ']);
  assert.match(await client.content(CONTENT), /^250 /);
  assert.equal(relay.accepted.length, 1);
});

test('sessions side by side get no more than one', async (t) => {
  const relay = await start(t);
  await using first = await relay.session();
  await using second = await relay.session();
  await first.talk(MAIL, rcpt('a'), rcpt('b'));
  await second.talk(MAIL, rcpt('c'), rcpt('d', FULL));
  await first.talk(['RSET', '250 ']);
  await second.talk(rcpt('d'), rcpt('e'), rcpt('f', FULL));
});

test('a message and its count are in one commit; other users cost no row', async (t) => {
  const relay = await start(t);
  await using client = await relay.session();
  await send(client, 'a', 'b');
  const slot = slotOf(Date.now());
  const [usage, ...others] = await relay.spool.usage();
  assert.ok(usage && Math.abs(usage.slot - slot) <= 1);
  assert.deepEqual([usage.sender, usage.recipients, others], ['app.default', 2, []]);
  relay.change({ users: CONFIG.users });
  await send(client, 'c');
  await using local = await relay.session('local');
  await send(local, 'd');
  assert.deepEqual(await relay.spool.usage(), [usage]);
});

test('an edit of the quota is in force at the next recipient of an open session', async (t) => {
  const relay = await start(t);
  const [user] = CONFIG.users.values();
  assert.ok(user);
  await using client = await relay.session();
  await send(client, 'a', 'b', 'c');
  await client.talk(MAIL, rcpt('d', FULL));
  relay.change({ users: new Map([[user.username, { ...user, quota: { recipientsPerHour: 4 } }]]) });
  await client.talk(rcpt('d'), rcpt('e', '450 4.7.1 '));
  relay.change({ users: CONFIG.users });
  await client.talk(rcpt('e'));
  relay.change({ users: new Map([[user.username, { ...user, quota: { recipientsPerDay: 6 } }]]) });
  await client.talk(rcpt('f'), rcpt('g', '450 4.7.1 your quota of 6 recipients per day'));
  relay.change({ users: new Map() });
  await client.talk(['RSET', '250 '], ['MAIL FROM:<a@example.test>', '535 5.7.8 ']);
});
