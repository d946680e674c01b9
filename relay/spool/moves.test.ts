import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import type { Envelope, Recipient } from './envelope.ts';
import type { Marked } from './move.ts';
import { openSpool } from './open.ts';
import { recoverSpool } from './recover.ts';
import { type Accepted, type Content, type Spool, SpoolDamage } from './spool.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const LATER = NOW + 300_000;

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'moves-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function openIn(t: TestContext, folder: string): Promise<Spool> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 0,
    log: () => undefined,
    onFatal: (error) => assert.fail(`fatal: ${error.message}`),
    now: () => NOW,
  });
  t.after(() => spool.close().catch(() => undefined));
  return spool;
}

const ENVELOPE: Envelope = {
  version: 1,
  mailFrom: 'sender@example.test',
  smtputf8: false,
  bodyType: '7BIT',
  arrivedMs: NOW - 60_000,
  sizeBytes: 0,
  bodyHash: 'hash',
  headerBytes: 0,
  user: 'app.default',
};

const ann: Recipient = { address: 'ann@one.test', state: 'queued' };
const bob: Recipient = { address: 'bob@two.test', state: 'queued' };
const refused: Recipient = {
  ...ann,
  state: 'deferred',
  lastReply: { code: 451, text: 'not now', host: 'mx.one.test' },
};

async function accept(spool: Spool, content: string): Promise<Accepted> {
  const intake = spool.open();
  await intake.write(Buffer.from(content));
  return intake.commit(ENVELOPE, [
    { destination: 'one.test', recipients: [ann] },
    { destination: 'two.test', recipients: [bob] },
  ]);
}

/** A message of which ann's delivery was deferred after one attempt, and bob's is done. */
async function acceptHalfDone(spool: Spool, content: string): Promise<Accepted> {
  const accepted = await accept(spool, content);
  const [first, second] = accepted.deliveries;
  assert.ok(first && second);
  const signature = Buffer.from('DKIM-Signature: kept\r\n');
  await spool.record([{ delivery: first.id, attempts: 1, remaining: [refused], dueMs: LATER, signature }], []);
  await spool.record([{ delivery: second.id, attempts: 1, remaining: [], dueMs: 0 }], []);
  return accepted;
}

async function bytesOf({ data }: Content): Promise<string> {
  if (Buffer.isBuffer(data)) return data.toString();
  const chunks: Buffer[] = [];
  for await (const chunk of data.open()) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function* chunksOf({ data }: Content): AsyncGenerator<Buffer> {
  if (Buffer.isBuffer(data)) yield data;
  else yield* data.open();
}

async function markAll(source: Spool, peer: Spool): Promise<readonly Marked[]> {
  return source.moves.mark(await source.moves.movable(0, 100), peer.spoolId);
}

async function offer(source: Spool, peer: Spool, { sequence }: Marked) {
  const found = await source.moves.read(sequence);
  assert.ok(found);
  return peer.moves.adopt(found.moving, chunksOf(found.content));
}

function edit(folder: string, sql: string): void {
  const db = new DatabaseSync(path.join(folder, 'queue.db'));
  db.exec(sql);
  db.close();
}

const dueOf = async (spool: Spool, nowMs: number) => (await spool.take('one.test', { nowMs, limit: 10 })).deliveries;

test('a message moves as it is: queue id, arrival, attempts, recipients, time of the next attempt, signature', async (t) => {
  const [folder, peerFolder] = [folderFor(t), folderFor(t)];
  const [source, peer] = [await openIn(t, folder), await openIn(t, peerFolder)];
  for (const content of ['small', 'large '.repeat(60_000)]) {
    const { queueId } = await acceptHalfDone(source, content);
    const [marked] = await markAll(source, peer);
    assert.ok(marked);
    assert.equal(await offer(source, peer, marked), 'new');
    await source.moves.finish([marked.sequence]);
    assert.deepEqual(await source.stats(), { messages: 0, deliveries: 0 });
    assert.deepEqual(readdirSync(path.join(folder, 'bodies')), []);

    const shown = await peer.show(queueId);
    assert.deepEqual(shown?.envelope, { ...ENVELOPE, queueId });
    assert.deepEqual(await peer.destinations(LATER - 1, 10), { due: [], nextMs: LATER });
    const [due] = await dueOf(peer, LATER);
    assert.ok(due);
    assert.deepEqual([due.queueId, due.attempts, due.recipients], [queueId, 1, [refused]]);
    const content2 = await peer.read(queueId);
    assert.equal(content2.signature?.toString(), 'DKIM-Signature: kept\r\n');
    assert.equal(await bytesOf(content2), content);

    await peer.record([{ delivery: due.id, attempts: 2, remaining: [], dueMs: 0 }], []);
    assert.equal(await peer.show(queueId), undefined);
    assert.deepEqual(readdirSync(path.join(peerFolder, 'bodies')), []);
  }
});

test('what is marked is not delivered here any more, not after a restart either', async (t) => {
  const [folder, peer] = [folderFor(t), await openIn(t, folderFor(t))];
  const source = await openIn(t, folder);
  await acceptHalfDone(source, 'marked');
  const marked = await markAll(source, peer);
  assert.equal(marked.length, 1);
  assert.deepEqual(await dueOf(source, LATER), []);
  assert.deepEqual(await markAll(source, peer), [], 'a mark stays with its peer');
  await source.close();

  const again = await openIn(t, folder);
  assert.deepEqual(await dueOf(again, LATER * 2), []);
  assert.deepEqual(await again.moves.marked(0, 10), marked);
  assert.equal((await again.stats()).messages, 1);
  assert.equal(await offer(again, peer, marked[0] ?? assert.fail()), 'new');
});

test('the same move again changes nothing, also when its message is delivered by then', async (t) => {
  const peerFolder = folderFor(t);
  const [source, peer] = [await openIn(t, folderFor(t)), await openIn(t, peerFolder)];
  const { queueId } = await acceptHalfDone(source, 'large '.repeat(60_000));
  const [marked] = await markAll(source, peer);
  assert.ok(marked);
  assert.equal(await offer(source, peer, marked), 'new');
  assert.equal(await offer(source, peer, marked), 'known');
  assert.equal((await peer.stats()).messages, 1);
  assert.equal(readdirSync(path.join(peerFolder, 'bodies')).length, 1);

  const [due] = await dueOf(peer, LATER);
  await peer.record([{ delivery: due?.id ?? 0, attempts: 2, remaining: [], dueMs: 0 }], []);
  await peer.close();
  const again = await openIn(t, peerFolder);
  assert.equal(await offer(source, again, marked), 'known');
  assert.equal(await again.show(queueId), undefined);
  assert.deepEqual(readdirSync(path.join(peerFolder, 'bodies')), []);
});

test('a request that was on its way until its move is forgotten is refused', async (t) => {
  const [source, peer] = [await openIn(t, folderFor(t)), await openIn(t, folderFor(t))];
  await acceptHalfDone(source, 'first');
  await acceptHalfDone(source, 'second');
  const [first, second] = await markAll(source, peer);
  assert.ok(first && second);
  const late = await source.moves.read(first.sequence);
  assert.ok(late);
  assert.equal(await source.moves.finishedUpTo(peer.spoolId), 0);
  await offer(source, peer, first);
  await source.moves.finish([first.sequence]);
  assert.equal(await source.moves.finishedUpTo(peer.spoolId), first.sequence);
  await peer.moves.forget(source.spoolId, first.sequence);

  assert.equal(await peer.moves.adopt(late.moving, chunksOf(late.content)), 'refused');
  assert.equal((await peer.stats()).messages, 1);
  assert.equal(await offer(source, peer, second), 'new', 'the next move is none that is finished');
  await source.moves.finish([second.sequence]);
  assert.equal(await source.moves.finishedUpTo(peer.spoolId), second.sequence);
  await acceptHalfDone(source, 'third');
  const [third] = await markAll(source, peer);
  assert.ok(third && third.sequence > second.sequence, 'no sequence number is given again');
});

test('content that breaks off is not taken', async (t) => {
  const peerFolder = folderFor(t);
  const [source, peer] = [await openIn(t, folderFor(t)), await openIn(t, peerFolder)];
  await acceptHalfDone(source, 'large '.repeat(60_000));
  const [marked] = await markAll(source, peer);
  assert.ok(marked);
  const found = await source.moves.read(marked.sequence);
  assert.ok(found);
  const half = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of chunksOf(found.content)) {
      yield chunk;
      throw new Error('connection lost');
    }
  };
  await assert.rejects(peer.moves.adopt(found.moving, half()), /connection lost/);
  assert.deepEqual(await peer.stats(), { messages: 0, deliveries: 0 });
  assert.deepEqual(readdirSync(path.join(peerFolder, 'bodies')), []);
  assert.equal(await offer(source, peer, marked), 'new');
});

test('a message that moves twice keeps the id of its first spool', async (t) => {
  const [one, two, three] = [
    await openIn(t, folderFor(t)),
    await openIn(t, folderFor(t)),
    await openIn(t, folderFor(t)),
  ];
  const { queueId } = await acceptHalfDone(one, 'content');
  for (const [source, peer] of [
    [one, two],
    [two, three],
  ] as const) {
    const [marked] = await markAll(source, peer);
    assert.ok(marked);
    assert.equal(await offer(source, peer, marked), 'new');
    await source.moves.finish([marked.sequence]);
  }
  assert.equal((await three.show(queueId))?.queueId, queueId);
  assert.equal((await three.list(10))[0]?.queueId, queueId);
  assert.equal(await two.show(queueId), undefined);
});

test('what is gone is not marked, and the rest is', async (t) => {
  const [source, peer] = [await openIn(t, folderFor(t)), await openIn(t, folderFor(t))];
  const { deliveries } = await accept(source, 'content');
  assert.equal(deliveries.length, 2);
  const [movable] = await source.moves.movable(0, 10);
  assert.ok(movable);
  const gone = { id: movable.id + 1, deliveries: [], inMemory: [] };
  const marked = await source.moves.mark([gone, movable], peer.spoolId);
  assert.equal(marked.length, 1);
});

test('a number that a source gave again, of another message, is not taken for the move that is known', async (t) => {
  const [source, peer] = [await openIn(t, folderFor(t)), await openIn(t, folderFor(t))];
  await acceptHalfDone(source, 'first');
  await acceptHalfDone(source, 'second');
  const [first, second] = await markAll(source, peer);
  assert.ok(first && second);
  assert.equal(await offer(source, peer, first), 'new');
  const other = await source.moves.read(second.sequence);
  assert.ok(other);
  const again = { ...other.moving, sequence: first.sequence };
  assert.equal(await peer.moves.adopt(again, chunksOf(other.content)), 'refused');
  assert.equal((await peer.stats()).messages, 1);
  assert.equal(await offer(source, peer, first), 'known');
});

test('after its database was lost a source numbers its moves beyond all that it made', async (t) => {
  const [folder, peer] = [folderFor(t), await openIn(t, folderFor(t))];
  const source = await openIn(t, folder);
  await acceptHalfDone(source, 'first');
  const [first] = await markAll(source, peer);
  assert.ok(first);
  assert.equal(await offer(source, peer, first), 'new');
  await source.moves.finish([first.sequence]);
  await peer.moves.forget(source.spoolId, await source.moves.finishedUpTo(peer.spoolId));
  await source.close();
  rmSync(path.join(folder, 'queue.db'));
  await recoverSpool(folder, NOW);

  const again = await openIn(t, folder);
  assert.equal(again.spoolId, source.spoolId);
  await acceptHalfDone(again, 'second');
  const [second] = await markAll(again, peer);
  assert.ok(second && second.sequence > NOW);
  assert.equal(await offer(again, peer, second), 'new');
});

test('what recovery gives up is not marked any more, and what is marked is moved on', async (t) => {
  const [folder, peer] = [folderFor(t), await openIn(t, folderFor(t))];
  const source = await openIn(t, folder);
  const lost = await acceptHalfDone(source, 'lost');
  const { queueId } = await acceptHalfDone(source, 'kept');
  const marked = await markAll(source, peer);
  assert.equal(marked.length, 2);
  await source.close();
  edit(folder, "DELETE FROM body WHERE CAST(content AS TEXT) = 'lost'");
  const recovery = await recoverSpool(folder, NOW);
  assert.deepEqual(
    recovery.lost.map((one) => one.queueId),
    [lost.queueId],
  );

  const again = await openIn(t, folder);
  const left = await again.moves.marked(0, 10);
  assert.deepEqual(left, marked.slice(1));
  assert.equal(await offer(again, peer, left[0] ?? assert.fail()), 'new');
  assert.equal((await peer.show(queueId))?.queueId, queueId);
  await again.moves.finish(left.map(({ sequence }) => sequence));
  await acceptHalfDone(again, 'new');
  const [next] = await markAll(again, peer);
  assert.ok(next && next.sequence > NOW);
});

test('a mark that cannot be read is told as damage', async (t) => {
  const [folder, peer] = [folderFor(t), await openIn(t, folderFor(t))];
  const source = await openIn(t, folder);
  await acceptHalfDone(source, 'content');
  const [marked] = await markAll(source, peer);
  assert.ok(marked);
  await source.close();
  for (const due of ['{', 'null', '{}']) {
    edit(folder, `UPDATE moving SET due = '${due}'`);
    const again = await openIn(t, folder);
    await assert.rejects(again.moves.read(marked.sequence), SpoolDamage, due);
    await again.close();
  }
});
