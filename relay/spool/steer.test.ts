import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Envelope, Recipient } from './envelope.ts';
import type { QueueFilter } from './filter.ts';
import { openSpool } from './open.ts';
import { type Accepted, ChangeRefused, type Spool } from './spool.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const LATER = NOW + 3_600_000;
/** As far as any time goes: what is not due then never is. */
const NEVER = 2 ** 51;

async function openIn(t: TestContext, folder: string, now = () => NOW): Promise<Spool> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 0,
    log: () => undefined,
    onFatal: (error) => assert.fail(`fatal: ${error.message}`),
    now,
  });
  t.after(() => spool.close().catch(() => undefined));
  return spool;
}

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'steer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const queued = (address: string): Recipient => ({ address, state: 'queued' });
const refused = (address: string, text: string, code = 451, enhanced = '4.7.1'): Recipient => ({
  address,
  state: 'deferred',
  lastReply: { code, enhanced, text, host: 'mx.test' },
});

const ENVELOPE: Envelope = {
  ...{ version: 1, mailFrom: 'sender@example.test', smtputf8: false, bodyType: '7BIT', arrivedMs: NOW },
  ...{ sizeBytes: 7, bodyHash: '', headerBytes: 0 },
};

async function accept(spool: Spool, addresses: readonly string[], over: Partial<Envelope> = {}): Promise<Accepted> {
  const intake = spool.open();
  await intake.write(Buffer.from('content'));
  return intake.commit(
    { ...ENVELOPE, ...over },
    addresses.map((address) => ({ destination: address.replace(/.*@/, ''), recipients: [queued(address)] })),
  );
}

const idOf = ({ deliveries }: Accepted, index = 0): number => deliveries[index]?.id ?? assert.fail();

async function deferred(spool: Spool, recipient: Recipient, over: Partial<Envelope> = {}): Promise<Accepted> {
  const accepted = await accept(spool, [recipient.address], over);
  await spool.record([{ delivery: idOf(accepted), attempts: 1, remaining: [recipient], dueMs: LATER }], []);
  return accepted;
}

async function dueAt(spool: Spool, destination: string, nowMs: number): Promise<readonly string[]> {
  const { deliveries } = await spool.take(destination, { nowMs, limit: 100 });
  await spool.giveBack(deliveries.map(({ id }) => id));
  return deliveries.map(({ queueId }) => queueId);
}

const only = ({ queueId }: Accepted) => [{ queueId }];

test('what is on hold is never due, over a restart too, until it is released', async (t) => {
  const folder = folderFor(t);
  const first = await openIn(t, folder);
  const waits = await deferred(first, refused('a@one.test', 'later'));
  const inMemory = await accept(first, ['b@two.test']);
  const both = [...only(waits), ...only(inMemory)];
  const held = await first.steer('hold', both);
  assert.deepEqual(held, [
    { deliveries: 1, changed: 1, moving: false },
    { deliveries: 1, changed: 1, moving: false },
  ]);
  assert.equal((await first.show(waits.queueId))?.deliveries[0]?.heldMs, NOW);
  await first.close();

  const second = await openIn(t, folder);
  for (const destination of ['one.test', 'two.test']) {
    assert.deepEqual(await dueAt(second, destination, NEVER), []);
  }
  assert.deepEqual(
    (await second.steer('hold', both)).map(({ changed }) => changed),
    [0, 0],
    'it is on hold already',
  );
  assert.deepEqual(
    (await second.steer('retry', both)).map(({ changed }) => changed),
    [0, 0],
    'retry leaves it so',
  );
  assert.deepEqual(
    (await second.steer('release', both)).map(({ changed }) => changed),
    [1, 1],
  );
  assert.deepEqual(await dueAt(second, 'one.test', NOW), [waits.queueId]);
  assert.deepEqual(await dueAt(second, 'two.test', NOW), [inMemory.queueId]);
  assert.equal((await second.destinations(NOW, 10)).due.length, 2);
});

test('an attempt that ends while its message is on hold is recorded, and the message stays on hold', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const accepted = await accept(spool, ['a@one.test']);
  await spool.steer('hold', only(accepted));
  const remaining = [refused('a@one.test', 'full')];
  await spool.record([{ delivery: idOf(accepted), attempts: 1, remaining, dueMs: LATER }], []);
  const [delivery] = (await spool.show(accepted.queueId))?.deliveries ?? [];
  assert.deepEqual([delivery?.attempts, delivery?.heldMs, delivery?.dueMs], [1, NOW, undefined]);
  assert.equal(delivery?.recipients[0]?.lastReply?.text, 'full');

  const delivered = await accept(spool, ['b@one.test']);
  await spool.steer('hold', only(delivered));
  await spool.record([{ delivery: idOf(delivered), attempts: 1, remaining: [], dueMs: 0 }], []);
  assert.equal(await spool.show(delivered.queueId), undefined, 'what was delivered is gone');
});

test('retry makes due what waits; what is in memory at its first attempt is left there', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const waits = await deferred(spool, refused('a@one.test', 'later'));
  const inMemory = await accept(spool, ['b@one.test']);
  assert.deepEqual(await dueAt(spool, 'one.test', NOW), []);
  const steered = await spool.steer('retry', [...only(waits), ...only(inMemory)]);
  assert.deepEqual(
    steered.map(({ changed }) => changed),
    [1, 0],
  );
  assert.deepEqual(await dueAt(spool, 'one.test', NEVER), [waits.queueId]);
});

test('what is removed is gone with its content; the others of its message stay when it is for one destination', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const message = await accept(spool, ['a@one.test', 'b@two.test']);
  await spool.steer('remove', [{ queueId: message.queueId, destinations: ['one.test'] }]);
  assert.deepEqual(
    (await spool.show(message.queueId))?.deliveries.map(({ destination }) => destination),
    ['two.test'],
  );
  assert.deepEqual(await spool.steer('remove', only(message)), [{ deliveries: 1, changed: 1, moving: false }]);
  assert.deepEqual(await spool.stats(), { messages: 0, deliveries: 0 });
  await assert.rejects(spool.read(message.queueId), /not in the queue/);
  assert.deepEqual(await spool.steer('remove', only(message)), [{ deliveries: 0, changed: 0, moving: false }]);
});

test('an id of another spool, or none at all, is not in the queue', async (t) => {
  const spool = await openIn(t, folderFor(t));
  await accept(spool, ['a@one.test']);
  const steered = await spool.steer('hold', [{ queueId: 'ZZZZZZZZ1' }, { queueId: '../1' }, { queueId: '' }]);
  assert.deepEqual(
    steered.map(({ deliveries }) => deliveries),
    [0, 0, 0],
  );
});

test('what moves to another spool is left alone', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const message = await deferred(spool, refused('a@one.test', 'later'));
  const [movable] = await spool.moves.movable(0, 10);
  assert.ok(movable);
  await spool.moves.mark([movable], 'PEER');
  for (const action of ['hold', 'release', 'retry', 'remove'] as const) {
    assert.deepEqual(await spool.steer(action, only(message)), [{ deliveries: 1, changed: 0, moving: true }]);
  }
  assert.deepEqual(await dueAt(spool, 'one.test', NEVER), []);
  assert.ok(await spool.show(message.queueId));
});

const BOUNCE = { how: 'bounce', by: 'ann' } as const;

test('what is to be ended is known after a restart, until it is released or over, and does not move before', async (t) => {
  const folder = folderFor(t);
  const first = await openIn(t, folder);
  const message = await accept(first, ['a@one.test', 'b@two.test']);
  const other = await accept(first, ['c@two.test']);
  const [steered] = await first.steer('hold', [{ queueId: message.queueId, destinations: ['one.test'] }], {
    ending: BOUNCE,
  });
  await first.steer('hold', only(other), { ending: { how: 'delete', by: 'bob' } });
  assert.deepEqual(await first.moves.mark(await first.moves.movable(0, 10), 'PEER'), []);
  await first.close();

  const second = await openIn(t, folder);
  const wanted = [
    { queueId: message.queueId, destinations: ['one.test'], intent: steered?.intent, ...BOUNCE },
    {
      queueId: other.queueId,
      destinations: ['two.test'],
      intent: (steered?.intent ?? 0) + 1,
      how: 'delete',
      by: 'bob',
    },
  ];
  assert.deepEqual(await second.intended(), wanted);
  await second.steer('release', only(other));
  assert.deepEqual(await second.intended(), wanted.slice(0, 1));
  await second.record([{ delivery: idOf(message), attempts: 1, remaining: [], dueMs: NOW }], []);
  assert.deepEqual(await second.intended(), []);
});

test('what was released, or is to be ended in another way by now, is not ended by who was asked before', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const message = await accept(spool, ['a@one.test']);
  const wish = async () => (await spool.steer('hold', only(message), { ending: BOUNCE }))[0]?.intent ?? assert.fail();
  const end = (intent: number) =>
    spool.record([{ delivery: idOf(message), attempts: 1, remaining: [], dueMs: NOW, intent }], []);
  const first = await wish();
  await spool.steer('release', only(message));
  await assert.rejects(end(first), ChangeRefused);
  const second = await wish();
  await assert.rejects(end(first), ChangeRefused);
  assert.equal((await spool.steer('remove', only(message), { intent: first }))[0]?.changed, 0);
  assert.ok(await spool.show(message.queueId));
  await end(second);
  assert.equal(await spool.show(message.queueId), undefined);
});

async function search(spool: Spool, filter: QueueFilter, limit = 1000): Promise<readonly string[]> {
  const found: string[] = [];
  let after: string | undefined;
  do {
    const page = await spool.search(filter, after, limit);
    assert.ok(page.messages.length <= limit);
    found.push(...page.messages.map(({ queueId }) => queueId));
    after = page.next;
  } while (after !== undefined);
  return found;
}

test('a search finds what all of its fields hold for, of the same delivery', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const fresh = await accept(spool, ['ann@one.test', 'bob@two.test'], { mailFrom: 'News@Example.Test' });
  const grey = await deferred(spool, refused('ann@one.test', 'Greylisted, come back'), {
    user: 'app.default',
    arrivedMs: NOW - 7_200_000,
  });
  const full = await deferred(spool, refused('carl@sub.one.test', 'Mailbox full', 452, '4.2.2'), { mailFrom: '' });
  await spool.steer('hold', only(full));

  const names = new Map([
    [fresh.queueId, 'fresh'],
    [grey.queueId, 'grey'],
    [full.queueId, 'full'],
  ]);
  const cases: readonly [QueueFilter, string][] = [
    [{}, 'fresh grey full'],
    [{ sender: 'news@example.test' }, 'fresh'],
    [{ sender: '@EXAMPLE.test' }, 'fresh grey'],
    [{ sender: '<>' }, 'full'],
    [{ sender: 'example.test' }, ''],
    [{ recipient: 'ANN@one.test' }, 'fresh grey'],
    [{ recipient: '@one.test' }, 'fresh grey'],
    [{ destination: 'two.test' }, 'fresh'],
    [{ destination: 'sub.one.test' }, 'full'],
    [{ destination: 'two.test', recipient: 'ann@one.test' }, ''],
    [{ user: 'app.default' }, 'grey'],
    [{ state: 'queued' }, 'fresh'],
    [{ state: 'deferred' }, 'grey'],
    [{ state: 'held' }, 'full'],
    [{ reason: '451' }, 'grey'],
    [{ reason: '4.2.2' }, 'full'],
    [{ reason: '452 4.2.2' }, 'full'],
    [{ reason: '451 4.2.2' }, ''],
    [{ reason: 'greyLISTED' }, 'grey'],
    [{ arrivedBeforeMs: NOW }, 'grey'],
    [{ arrivedAfterMs: NOW - 1 }, 'fresh full'],
    [{ sender: '@example.test', state: 'deferred', reason: '4.7.1' }, 'grey'],
  ];
  for (const [filter, expected] of cases) {
    const found = (await search(spool, filter)).map((id) => names.get(id)).join(' ');
    assert.equal(found, expected, JSON.stringify(filter));
  }
  const { messages } = await spool.search({ destination: 'two.test' }, undefined, 10);
  assert.deepEqual(
    messages[0]?.deliveries.map(({ destination }) => destination),
    ['two.test'],
    'of a message, what matches',
  );
});

test('pages follow each other without a gap, whatever their size', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const accepted = await Promise.all(
    Array.from({ length: 1_200 }, (_, index) => accept(spool, [`user${index}@${index % 3 ? 'one' : 'two'}.test`])),
  );
  const ids = accepted.map(({ queueId }) => queueId).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  assert.deepEqual(await search(spool, {}, 7), ids);
  assert.equal((await search(spool, { destination: 'two.test' }, 100)).length, 400);
  assert.equal((await search(spool, { recipient: 'user1199@one.test' }, 10)).length, 1);
});

test('a page of messages with very many recipients ends early', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const recipients = Array.from({ length: 1_000 }, (_, index) => queued(`someone.with.a.name.${index}@one.test`));
  for (let message = 0; message < 60; message += 1) {
    const intake = spool.open();
    await intake.commit(ENVELOPE, [{ destination: 'one.test', recipients }]);
  }
  const { messages, next } = await spool.search({}, undefined, 1_000);
  assert.ok(messages.length < 60 && next !== undefined, `${messages.length}`);
  assert.equal((await search(spool, {})).length, 60);
});

test('counts tell recipients by destination and codes of the last reply, and how many are on hold', async (t) => {
  const spool = await openIn(t, folderFor(t));
  await accept(spool, ['ann@one.test', 'bob@two.test']);
  await deferred(spool, refused('c@one.test', 'busy'));
  await spool.steer('hold', only(await deferred(spool, refused('d@one.test', 'greylisted'))));
  const counts = [...(await spool.counts()).rows].sort((a, b) =>
    `${a.destination} ${a.reason}` < `${b.destination} ${b.reason}` ? -1 : 1,
  );
  assert.deepEqual(counts, [
    { destination: 'one.test', reason: '', recipients: 1, held: 0 },
    { destination: 'one.test', reason: '451 4.7.1', recipients: 2, held: 1 },
    { destination: 'two.test', reason: '', recipients: 1, held: 0 },
  ]);
});
