import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { accept, envelope, folderFor, NOW, openIn, over, recipient, to } from '../../test/harness/spool.ts';
import type { Envelope } from './envelope.ts';
import { type Content, type DueDestinations, type Spool, SpoolDamage, SpoolFull, SpoolUnavailable } from './spool.ts';

async function bytesOf({ data }: Content): Promise<Buffer> {
  if (Buffer.isBuffer(data)) return data;
  const chunks: Buffer[] = [];
  for await (const chunk of data.open()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function patterned(bytes: number): Buffer {
  const content = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at++) content[at] = (at * 31 + (at >> 8)) & 0xff;
  return content;
}

async function until(holds: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (!holds()) {
    assert.ok(performance.now() < giveUpAt, String(holds));
    await sleep(20);
  }
}

/** Changes the database of a closed spool as damage would. */
function damage(folder: string, sql: string): void {
  const db = new DatabaseSync(path.join(folder, 'queue.db'));
  db.exec(sql);
  db.close();
}

test('a committed message is there after the spool is opened again, due at once', async (t) => {
  const folder = folderFor(t);
  const first = await openIn(t, folder);
  const accepted = await accept(first, 'Subject: hi\r\n\r\nhello\r\n', to('ann@one.test', 'bob@two.test'), {
    user: 'app.default',
    envid: 'kept',
  });
  assert.equal(accepted.deliveries.length, 2);
  assert.deepEqual(await first.destinations(NOW, 10), { due: [] }, 'a first attempt is in memory');
  await first.close();

  const second = await openIn(t, folder);
  assert.deepEqual(await second.destinations(NOW, 10), {
    due: [
      { destination: 'one.test', dueMs: NOW },
      { destination: 'two.test', dueMs: NOW },
    ],
  });
  const { deliveries } = await second.take('two.test', { nowMs: NOW, limit: 10 });
  assert.deepEqual(deliveries, [accepted.deliveries[1]]);
  const content = await second.read(accepted.queueId);
  assert.equal(content.signature, undefined);
  assert.equal((await bytesOf(content)).toString(), 'Subject: hi\r\n\r\nhello\r\n');
  assert.deepEqual(await second.stats(), { messages: 1, deliveries: 2, oldestMs: NOW });
});

test('in the old part of a long queue, what was in memory is found after the opening, and what moves is left', async (t) => {
  const folder = folderFor(t);
  const first = await openIn(t, folder);
  const old = await accept(first, 'old');
  await accept(first, 'moves');
  await first.moves.mark((await first.moves.movable(0, 10)).slice(1), 'peer');
  await first.close();
  // As after very many that came and went, but for the last one.
  damage(folder, "UPDATE sqlite_sequence SET seq = 100000 WHERE name = 'delivery'");
  const second = await openIn(t, folder);
  const recent = await accept(second, 'new', to('bob@two.test'));
  await second.close();

  const third = await openIn(t, folder);
  const due = async () => (await third.destinations(NOW, 10)).due.map(({ destination }) => destination);
  assert.deepEqual(await due(), ['two.test'], 'the newest is found at once');
  const later = await accept(third, 'later');
  assert.deepEqual(await third.requeue(), { deliveries: 1, more: false });
  assert.deepEqual(await due(), ['one.test', 'two.test']);
  const take = async (destination: string) => (await third.take(destination, { nowMs: NOW, limit: 10 })).deliveries;
  assert.deepEqual(await take('one.test'), old.deliveries, 'not what moves, and not what is new');
  assert.deepEqual(await take('two.test'), recent.deliveries);
  assert.deepEqual(await third.requeue(), { deliveries: 0, more: false });
  await third.record([...over(later), ...over(old)], []);
});

test('commit hands back the content that the first attempt sends', async (t) => {
  const spool = await openIn(t, folderFor(t));
  for (const size of [0, 1, 4096, 256 * 1024, 256 * 1024 + 1, 3_000_000]) {
    const content = patterned(size);
    const intake = spool.open();
    for (let at = 0; at < size; at += 65_536) await intake.write(Buffer.from(content.subarray(at, at + 65_536)));
    const accepted = await intake.commit(envelope(), to('ann@one.test'));
    assert.equal(accepted.queueId, intake.queueId);
    assert.equal(Buffer.isBuffer(accepted.content.data), size <= 256 * 1024);
    assert.ok((await bytesOf(accepted.content)).equals(content), `${size} bytes in memory`);
    assert.ok((await bytesOf(await spool.read(accepted.queueId))).equals(content), `${size} bytes read`);
  }
});

test('a message leaves nothing behind when its last delivery is over', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const small = await accept(spool, 'small', to('ann@one.test', 'bob@two.test'));
  const large = await accept(spool, patterned(300_000));
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), [large.queueId]);

  await spool.record(over(small).slice(0, 1), []);
  assert.deepEqual(
    (await spool.show(small.queueId))?.deliveries.map(({ destination }) => destination),
    ['two.test'],
  );
  await spool.record([...over(small).slice(1), ...over(large)], []);
  assert.equal(await spool.show(small.queueId), undefined);
  await assert.rejects(spool.read(small.queueId), /not in the queue/);
  assert.deepEqual(await spool.stats(), { messages: 0, deliveries: 0 });
  await spool.close();
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), []);
  const db = new DatabaseSync(path.join(folder, 'queue.db'));
  for (const table of ['message', 'body', 'signature', 'delivery']) {
    assert.equal(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n, 0, table);
  }
  db.close();
});

test('queue ids are never given twice', async (t) => {
  const folder = folderFor(t);
  const seen = new Set<string>();
  for (let opening = 0; opening < 3; opening++) {
    const spool = await openIn(t, folder);
    const done = await accept(spool, 'done');
    await spool.record(over(done), []);
    const aborted = spool.open();
    await aborted.abort();
    const dropped = spool.open();
    await dropped.write(Buffer.from('the process ends here'));
    for (const { queueId } of [done, aborted, dropped]) {
      assert.ok(queueId.startsWith(spool.spoolId));
      assert.ok(!seen.has(queueId), queueId);
      seen.add(queueId);
    }
    await spool.close();
  }
});

test('ids that run ahead of commits are reserved in time', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  for (let batch = 0; batch < 10; batch++) {
    for (let n = 0; n < 20_000; n++) spool.open();
    await spool.stats();
  }
  const last = spool.open().queueId;
  await spool.close();
  const next = (await openIn(t, folder)).open().queueId;
  assert.ok(next.length > last.length || next > last, `${next} comes after ${last}`);
});

test('a deferral stores recipients, time and signature; due gives them in order of time', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const messages = await Promise.all([1, 2, 3].map((n) => accept(spool, `message ${n}`)));
  const times = [30, 10, 20.4];
  for (const [index, { deliveries }] of messages.entries()) {
    await spool.record(
      deliveries.map(({ id }) => ({
        delivery: id,
        attempts: 1,
        remaining: [{ address: 'ann@one.test', state: 'deferred', lastReply: { code: 450, text: `later ${index}` } }],
        dueMs: NOW + (times[index] ?? 0),
        signature: Buffer.from(`DKIM-Signature: ${index}\r\n`),
      })),
      [],
    );
  }
  assert.deepEqual(await spool.destinations(NOW, 10), { due: [], nextMs: NOW + 10 });
  const texts = async (nowMs: number, limit: number) =>
    (await spool.take('one.test', { nowMs, limit })).deliveries.map(({ recipients }) => recipients[0]?.lastReply?.text);
  assert.deepEqual(await texts(NOW, 10), []);
  assert.deepEqual(await texts(NOW + 20, 1), ['later 1']);
  assert.deepEqual(await texts(NOW + 100, 10), ['later 2', 'later 0'], 'what is in hand is not given out again');
  await spool.close();

  const again = await openIn(t, folder);
  const { deliveries } = await again.take('one.test', { nowMs: NOW + 10, limit: 10 });
  const [first] = deliveries;
  assert.equal(first?.attempts, 1);
  const content = await again.read(first?.queueId ?? '');
  assert.equal(content.signature?.toString(), 'DKIM-Signature: 1\r\n');
  await again.record([{ delivery: first?.id ?? 0, attempts: 2, remaining: [], dueMs: 0 }], []);
  assert.deepEqual(await again.destinations(NOW + 15, 10), { due: [], nextMs: NOW + 20 });
});

/** Leaves a delivery in the queue that is due at a time. */
async function defer(spool: Spool, destination: string, dueMs: number, user?: string): Promise<number> {
  const { deliveries } = await accept(spool, 'x', to(`ann@${destination}`), user === undefined ? {} : { user });
  const id = deliveries[0]?.id ?? 0;
  await spool.record([{ delivery: id, attempts: 1, remaining: [recipient(`ann@${destination}`)], dueMs }], []);
  return id;
}

test('destinations are told page by page, those that wait longest first, and when the next one is due', async (t) => {
  const spool = await openIn(t, folderFor(t));
  for (const [index, name] of ['c', 'a', 'b', 'd'].entries()) await defer(spool, `${name}.test`, NOW + 10 * index);
  const names = (found: DueDestinations) => found.due.map(({ destination }) => destination);
  const first = await spool.destinations(NOW + 20, 2);
  assert.deepEqual(names(first), ['c.test', 'a.test']);
  assert.equal(first.nextMs, NOW + 30);
  assert.deepEqual(names(await spool.destinations(NOW + 20, 2, first.due[1])), ['b.test']);
});

test('a destination of which all that is due is in hand tells when the rest is', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const soon = await defer(spool, 'a.test', NOW);
  await defer(spool, 'a.test', NOW + 40);
  await defer(spool, 'a.test', NOW + 30, 'other');
  const { deliveries, nextMs } = await spool.take('a.test', { nowMs: NOW, limit: 5 });
  assert.deepEqual([deliveries.length, nextMs], [1, NOW + 30]);
  assert.deepEqual(await spool.destinations(NOW, 5), { due: [], nextMs: NOW + 30 });
  await spool.record([{ delivery: soon, attempts: 2, remaining: [recipient('ann@a.test')], dueMs: NOW + 5 }], []);
  assert.deepEqual(await spool.destinations(NOW, 5), { due: [], nextMs: NOW + 5 });
  assert.equal((await spool.take('a.test', { nowMs: NOW + 5, limit: 5 })).deliveries[0]?.id, soon);
});

test('each sender of a destination has a share of what is taken, and those left out have the next turn', async (t) => {
  const spool = await openIn(t, folderFor(t));
  for (let i = 0; i < 20; i += 1) await defer(spool, 'a.test', NOW, 'bulk');
  for (const user of ['x', 'y', 'z']) await defer(spool, 'a.test', NOW, user);
  const takeAfter = async (afterSender: string | undefined, limit: number) => {
    const { deliveries, lastSender, more } = await spool.take('a.test', { nowMs: NOW, limit, afterSender });
    return { senders: deliveries.map(({ envelope: { user } }) => user).join(' '), lastSender, more };
  };
  assert.deepEqual(await takeAfter(undefined, 3), { senders: 'bulk x y', lastSender: 'y', more: true });
  assert.deepEqual(await takeAfter('y', 4), { senders: 'z bulk bulk bulk', lastSender: 'bulk', more: true });
  assert.equal((await takeAfter('bulk', 50)).senders.split(' ').length, 16);
  assert.deepEqual(await spool.destinations(NOW, 5), { due: [] });
});

test('a parked delivery is due at once', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const { deliveries } = await accept(spool, 'x', to('ann@one.test', 'bob@two.test'));
  await spool.park([deliveries[1]?.id ?? 0, 999]);
  assert.deepEqual(await spool.destinations(NOW, 10), { due: [{ destination: 'two.test', dueMs: NOW }] });
  assert.deepEqual((await spool.take('two.test', { nowMs: NOW, limit: 10 })).deliveries, [deliveries[1]]);
});

test('an outcome and the message it causes are committed together', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const failed = await accept(spool, 'x');
  const report = { envelope: envelope({ mailFrom: '' }), content: Buffer.from('report'), deliveries: to('s@one.test') };
  const [spawned] = await spool.record(over(failed), [report]);
  assert.ok(spawned);
  assert.equal(await spool.show(failed.queueId), undefined);
  assert.equal((await bytesOf(spawned.content)).toString(), 'report');
  assert.deepEqual(
    (await spool.list(10)).map(({ queueId }) => queueId),
    [spawned.queueId],
  );
});

test('when one outcome cannot be recorded, none of the call is, nor its messages', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const kept = await accept(spool, 'x');
  const small = { envelope: envelope({ mailFrom: '' }), content: Buffer.from('report'), deliveries: to('s@one.test') };
  const large = { ...small, content: patterned(300_000) };
  const unknown = { delivery: 4711, attempts: 1, remaining: [], dueMs: 0 };
  await assert.rejects(spool.record([...over(kept), unknown], [small, large]), /no delivery 4711/);
  assert.deepEqual(
    (await spool.list(10)).map(({ queueId, deliveries }) => [queueId, deliveries.length]),
    [[kept.queueId, 1]],
  );
  assert.deepEqual(await spool.stats(), { messages: 1, deliveries: 1, oldestMs: NOW });
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), []);
});

test('a large report is committed with its outcome too', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const failed = await accept(spool, 'x');
  const content = patterned(300_000);
  const [spawned] = await spool.record(over(failed), [{ envelope: envelope(), content, deliveries: to('s@one.test') }]);
  assert.ok(spawned);
  assert.ok((await bytesOf(spawned.content)).equals(content));
  assert.ok((await bytesOf(await spool.read(spawned.queueId))).equals(content));
});

test('a member of a group that fails takes nothing of the others with it', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const before = await accept(spool, 'before');
  const unknown = { delivery: 4711, attempts: 1, remaining: [], dueMs: 0 };
  const results = await Promise.allSettled([
    accept(spool, 'one'),
    spool.record([unknown], []),
    accept(spool, 'two'),
    spool.record(over(before), []),
    spool.record(over(before), []),
    accept(spool, 'three'),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(await spool.stats(), { messages: 3, deliveries: 3, oldestMs: NOW });
});

test('while a body cannot be written no mail is taken; outcomes are recorded, and mail is taken again by itself', async (t) => {
  const folder = folderFor(t);
  const logged: string[] = [];
  const spool = await openIn(t, folder, { logged });
  const failed = await accept(spool, 'x');
  rmSync(path.join(folder, 'bodies'), { recursive: true });
  await assert.rejects(accept(spool, patterned(300_000)), SpoolUnavailable);
  assert.equal(spool.health().hindrance?.kind, 'unwritable');
  assert.match(spool.health().hindrance?.problem ?? '', /message body.*ENOENT/);
  await assert.rejects(accept(spool, 'small'), SpoolUnavailable);
  const report = { envelope: envelope(), content: patterned(300_000), deliveries: to('s@one.test') };
  await assert.rejects(spool.record(over(failed), [report]), SpoolUnavailable);
  assert.deepEqual(await spool.stats(), { messages: 1, deliveries: 1, oldestMs: NOW });
  assert.equal(spool.health().records, true);
  await spool.record(over(failed), []);

  mkdirSync(path.join(folder, 'bodies'));
  await until(() => spool.health().hindrance === undefined);
  await accept(spool, patterned(300_000));
  assert.deepEqual(logged, ['the queue takes no mail', 'the queue takes mail again']);
});

test('beyond its bounds a queue takes no mail, and again when there is room', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const first = await accept(spool, 'one');
  spool.bound({ minFreeBytes: 0, maxMessages: 1 });
  await assert.rejects(
    accept(spool, 'two'),
    (error) => error instanceof SpoolFull && /maxMessages is 1/.test(error.message),
  );
  await spool.record(over(first), []);
  await accept(spool, 'two');

  const { freeBytes } = spool.health();
  spool.bound({ minFreeBytes: 2 * freeBytes, maxMessages: 100 });
  await assert.rejects(accept(spool, 'three'), (error) => error instanceof SpoolFull && /minFree/.test(error.message));
  spool.bound({ minFreeBytes: Math.floor(freeBytes / 2), maxMessages: 100 });
  await accept(spool, 'three');
});

test('the room of a queue that has drained is used again', async (t) => {
  const folder = folderFor(t);
  const sizes: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const spool = await openIn(t, folder);
    const messages = await Promise.all(Array.from({ length: 200 }, () => accept(spool, patterned(20_000))));
    await spool.park(messages.flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
    await Promise.all(messages.map((message) => spool.record(over(message), [])));
    await spool.close();
    sizes.push(statSync(path.join(folder, 'queue.db')).size);
  }
  const [, second = 0, , fourth = 0] = sizes;
  assert.ok(second > 200 * 20_000, 'it was all in the database');
  assert.ok(fourth <= second * 1.05, `it grows: ${sizes.join(', ')}`);
});

test('an aborted message leaves no trace', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  for (const size of [10, 300_000]) {
    const intake = spool.open();
    await intake.write(patterned(size));
    await intake.abort();
    await assert.rejects(intake.commit(envelope(), to('ann@one.test')), /has ended/);
  }
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), []);
  assert.deepEqual(await spool.stats(), { messages: 0, deliveries: 0 });
});

test('close commits what was handed in', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const handedIn = [accept(spool, 'one'), accept(spool, 'two')];
  await new Promise((resolve) => setImmediate(resolve));
  await spool.close();
  await Promise.all(handedIn);
  await assert.rejects(accept(spool, 'late'), SpoolUnavailable);
  assert.deepEqual((await (await openIn(t, folder)).stats()).messages, 2);
});

test('the list shows the oldest first, with what is known of each delivery', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const first = await accept(spool, 'one');
  const second = await accept(spool, 'two');
  await spool.park(second.deliveries.map(({ id }) => id));
  assert.deepEqual(await spool.list(1), [
    {
      queueId: first.queueId,
      envelope: envelope(),
      deliveries: [
        {
          id: first.deliveries[0]?.id ?? 0,
          destination: 'one.test',
          attempts: 0,
          recipients: [recipient('ann@one.test')],
        },
      ],
    },
  ]);
  assert.equal((await spool.show(second.queueId.toLowerCase()))?.deliveries[0]?.dueMs, NOW);
  assert.equal(await spool.show('no-such-id'), undefined);
});

test('fields of an envelope that a later version wrote are kept', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const later: Envelope & { readonly tag: string } = { ...envelope(), tag: 'newsletter' };
  const { queueId } = await accept(spool, 'x', to('ann@one.test'), later);
  assert.deepEqual((await spool.show(queueId))?.envelope, later);
});

test('changed bytes of a body, a signature, an envelope or a body file are found when they are read', async (t) => {
  const cases: { name: string; size: number; change: (folder: string, queueId: string) => void }[] = [
    { name: 'body', size: 10, change: (f) => damage(f, "UPDATE body SET content = CAST('0123456789' AS BLOB)") },
    { name: 'body is gone', size: 10, change: (f) => damage(f, 'DELETE FROM body') },
    {
      name: 'envelope',
      size: 10,
      change: (f) => damage(f, "UPDATE message SET envelope = replace(envelope, 'sender', 'somebody')"),
    },
    {
      name: 'body file',
      size: 300_000,
      change: (f, id) => writeFileSync(path.join(f, 'bodies', id), Buffer.alloc(300_000)),
    },
    { name: 'short body file', size: 300_000, change: (f, id) => writeFileSync(path.join(f, 'bodies', id), 'short') },
    { name: 'missing body file', size: 300_000, change: (f, id) => rmSync(path.join(f, 'bodies', id)) },
  ];
  for (const { name, size, change } of cases) {
    const folder = folderFor(t);
    const spool = await openIn(t, folder);
    const { queueId } = await accept(spool, patterned(size));
    await spool.close();
    change(folder, queueId);
    const again = await openIn(t, folder);
    await assert.rejects(async () => bytesOf(await again.read(queueId)), SpoolDamage, name);
    await again.close();
  }
});

test('a reader of a damaged body file never gets the end of it', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const { queueId, content } = await accept(spool, patterned(600_000));
  const changed = patterned(600_000);
  changed[3] = 0;
  writeFileSync(path.join(folder, 'bodies', queueId), changed);
  let got = 0;
  await assert.rejects(async () => {
    if (Buffer.isBuffer(content.data)) return;
    for await (const chunk of content.data.open()) got += chunk.length;
  }, SpoolDamage);
  assert.ok(got < 600_000);
});

test('a damaged delivery is told and does not hold up its lane', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const messages = await Promise.all(['one', 'two', 'three'].map((text) => accept(spool, text)));
  await spool.close();
  damage(
    folder,
    `UPDATE delivery SET recipients = replace(recipients, 'ann', 'eve') WHERE id = ${messages[0]?.deliveries[0]?.id}`,
  );
  damage(folder, `UPDATE message SET crc = 1 WHERE first_delivery = ${messages[1]?.deliveries[0]?.id}`);

  const logged: string[] = [];
  const again = await openIn(t, folder, { logged });
  const take = async () => (await again.take('one.test', { nowMs: NOW, limit: 2 })).deliveries;
  assert.deepEqual(await take(), [], 'both that were taken are damaged');
  assert.deepEqual(await take(), messages[2]?.deliveries);
  assert.equal(logged.filter((line) => line.includes('does not match its crc')).length, 2);
  await assert.rejects(again.show(messages[0]?.queueId ?? ''), SpoolDamage);
  assert.equal((await again.list(10)).length, 1);
});

test('close drops what was neither committed nor aborted', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const intake = spool.open();
  await intake.write(patterned(300_000));
  await spool.close();
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')), []);
  await assert.rejects(intake.commit(envelope(), to('ann@one.test')), SpoolUnavailable);
});

test('bodies that no message names are removed at opening, other files are not', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const kept = await accept(spool, patterned(300_000));
  const orphan = spool.open().queueId;
  await spool.close();
  for (const name of [orphan, 'README']) writeFileSync(path.join(folder, 'bodies', name), 'left behind');

  const again = await openIn(t, folder);
  assert.deepEqual(readdirSync(path.join(folder, 'bodies')).sort(), [kept.queueId, 'README'].sort());
  assert.equal((await bytesOf(await again.read(kept.queueId))).length, 300_000);
});

test('one process holds a spool; another is refused, or waits', async (t) => {
  const folder = folderFor(t);
  const first = await openIn(t, folder);
  await assert.rejects(
    openIn(t, folder),
    (error) => error instanceof SpoolUnavailable && error.message.includes(folder),
  );
  const logged: string[] = [];
  const waiting = openIn(t, folder, {
    lockWaitMs: 60_000,
    log: (_level, message) => {
      logged.push(message);
      void first.close();
    },
  });
  assert.ok((await waiting).spoolId === first.spoolId);
  assert.match(logged.join(), /waiting/);
});

test('what was written by a newer version, or by another program, is refused and left as it is', async (t) => {
  const cases: [string, RegExp][] = [
    ['PRAGMA user_version = 2', /newer version/],
    ['PRAGMA application_id = 7', /not a Chasqui queue/],
    ['PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM', /page_size is 4096 where 16384/],
  ];
  for (const [sql, expected] of cases) {
    const folder = folderFor(t);
    await (await openIn(t, folder)).close();
    damage(folder, sql);
    await assert.rejects(openIn(t, folder), expected, sql);
  }
  const folder = folderFor(t);
  writeFileSync(path.join(folder, 'queue.db'), 'a text that happens to have this name, and some more words to fill it');
  await assert.rejects(openIn(t, folder), SpoolDamage);
});

test('a lost or older database is not taken for an empty queue', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const { queueId } = await accept(spool, 'one');
  await spool.close();
  const database = path.join(folder, 'queue.db');

  damage(folder, "DELETE FROM message; UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'message'");
  const logged: string[] = [];
  const older = await openIn(t, folder, { logged });
  assert.match(logged.join(), /up to 0, ids.json up to 1, so up to 1 messages are missing/);
  assert.equal(older.health().hindrance?.kind, 'damaged');
  await older.close();
  rmSync(database);
  await assert.rejects(openIn(t, folder), (error) => error instanceof SpoolDamage && /is missing/.test(error.message));
  await assert.rejects(openIn(t, folder), SpoolDamage, 'nor is it the second time');
  writeFileSync(path.join(folder, 'ids.json'), 'rubbish');
  await assert.rejects(openIn(t, folder), SpoolDamage, 'nor with an unreadable id file');
  rmSync(path.join(folder, 'ids.json'));
  writeFileSync(path.join(folder, 'bodies', queueId), 'a body');
  await assert.rejects(openIn(t, folder), SpoolDamage, 'nor with bodies');
});

test('a database of another spool is refused', async (t) => {
  const folder = folderFor(t);
  const other = folderFor(t);
  for (const each of [folder, other]) await (await openIn(t, each)).close();
  rmSync(path.join(folder, 'ids.json'));
  const ids = path.join(other, 'ids.json');
  writeFileSync(path.join(folder, 'ids.json'), readFileSync(ids));
  await assert.rejects(openIn(t, folder), /is of spool/);
});

test('without a readable id file the queue opens, says so, and skips ids that may have been given', async (t) => {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  await accept(spool, 'one');
  await spool.close();
  writeFileSync(path.join(folder, 'ids.json'), '{"spoolId":"torn');
  const logged: string[] = [];
  const again = await openIn(t, folder, { logged });
  assert.match(logged.join(), /unreadable/);
  assert.equal((await again.stats()).messages, 1);
});

test('the queue is readable by its owner alone', async (t) => {
  const folder = path.join(folderFor(t), 'new');
  const spool = await openIn(t, folder);
  await accept(spool, patterned(300_000));
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(path.join(folder, 'bodies')).mode & 0o777, 0o700);
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (name !== 'bodies') assert.equal(statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }
});
