import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, cpSync, openSync, readdirSync, readFileSync, rmSync, truncateSync, writeSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { accept, folderFor, NOW, openIn, to } from '../../test/harness/spool.ts';
import { type Accepted, type Spool, SpoolDamage, SpoolUnavailable } from './spool.ts';

const PAGE = 16384;

async function filled(
  t: TestContext,
  messages: number,
): Promise<{ folder: string; all: readonly Accepted[]; spool: Spool }> {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  const all = await Promise.all(
    Array.from({ length: messages }, (_, n) => accept(spool, `message ${n} `.repeat(50), to(`user-${n}@one.test`))),
  );
  return { folder, all, spool };
}

/** The folder as a kill of its process leaves it, WAL and all. */
function asKilled(t: TestContext, folder: string): string {
  const copy = folderFor(t);
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** Pages of the database that are of a sort: 13 a leaf of a table, 10 of an index. */
function pagesOf(folder: string, sort: number, holds: string): number[] {
  const bytes = readFileSync(path.join(folder, 'queue.db'));
  const pages: number[] = [];
  for (let at = PAGE; at < bytes.length; at += PAGE) {
    if (bytes[at] === sort && bytes.subarray(at, at + PAGE).includes(holds)) pages.push(at);
  }
  return pages;
}

function overwrite(file: string, at: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, at);
  closeSync(descriptor);
}

/** Flips one bit of the first place where a text stands. */
function flip(file: string, text: string): void {
  const bytes = readFileSync(file);
  const at = bytes.indexOf(text);
  assert.ok(at >= 0, `${text} is in ${file}`);
  overwrite(file, at, Buffer.from([(bytes[at] ?? 0) ^ 1]));
}

/** Everything that can be delivered is, and nothing comes twice. */
async function drained(spool: Spool): Promise<string[]> {
  const delivered: string[] = [];
  for (;;) {
    const { due: waiting } = await spool.destinations(NOW, 100);
    const taken = await Promise.all(
      waiting.map(({ destination }) => spool.take(destination, { nowMs: NOW, limit: 100 })),
    );
    const due = taken.flatMap(({ deliveries }) => deliveries);
    if (due.length === 0 && waiting.length === 0) return delivered.toSorted();
    for (const delivery of due) {
      await spool.read(delivery.queueId);
      await spool.record([{ delivery: delivery.id, attempts: 1, remaining: [], dueMs: 0 }], []);
      delivered.push(delivery.queueId);
    }
  }
}

const ids = (all: readonly Accepted[]) => all.map(({ queueId }) => queueId).toSorted();

async function takesNoMail(spool: Spool, why: RegExp): Promise<void> {
  assert.equal(spool.health().hindrance?.kind, 'damaged');
  assert.match(spool.health().hindrance?.problem ?? '', why);
  await assert.rejects(accept(spool, 'new'), SpoolUnavailable);
}

for (const [what, damage] of [
  ['a flipped bit in the WAL', (wal: string) => flip(wal, 'user-7@one.test')],
  ['a truncated WAL', (wal: string) => truncateSync(wal, 40_000)],
  ['a missing WAL', (wal: string) => rmSync(wal)],
] as const) {
  test(`${what}: the messages behind it are told to be missing, the others are delivered, no mail is taken`, async (t) => {
    const folder = folderFor(t);
    const before = await openIn(t, folder);
    const kept = [await accept(before, 'kept 1'), await accept(before, 'kept 2')];
    await before.close();
    const spool = await openIn(t, folder);
    for (let n = 0; n < 10; n++) await accept(spool, `message ${n}`, to(`user-${n}@one.test`));
    const killed = asKilled(t, folder);
    damage(path.join(killed, 'queue.db-wal'));

    const logged: string[] = [];
    const again = await openIn(t, killed, { logged });
    assert.match(
      logged.join('\n'),
      /lost commits: it knows message ids up to \d+, ids\.json up to \d+, so up to \d+ messages are missing/,
    );
    await takesNoMail(again, /lost commits/);
    const delivered = await drained(again);
    for (const queueId of ids(kept)) assert.ok(delivered.includes(queueId), `${queueId} is delivered`);
    await again.close();

    const third = await openIn(t, killed);
    await takesNoMail(third, /lost commits/);
  });
}

test('a flipped bit in a row: that delivery is set aside and told, the others go on', async (t) => {
  const { folder, all, spool } = await filled(t, 30);
  await spool.close();
  flip(path.join(folder, 'queue.db'), 'user-7@one.test');
  const logged: string[] = [];
  const again = await openIn(t, folder, { logged });
  assert.deepEqual(await drained(again), ids(all.filter((_, n) => n !== 7)));
  assert.match(logged.join('\n'), /delivery row \d+ of message row \d+ does not match its crc/);
  assert.equal(again.health().hindrance, undefined, 'other mail is taken');
});

test('a flipped bit in an index: it is found at the start and the index made anew, nothing is lost', async (t) => {
  const { folder, all, spool } = await filled(t, 300);
  await spool.park(all.flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
  await spool.close();
  const [page = 0] = pagesOf(folder, 10, 'one.test');
  const bytes = readFileSync(path.join(folder, 'queue.db'));
  const at = bytes.indexOf('one.test', page);
  assert.ok(page > 0 && at < page + PAGE);
  overwrite(path.join(folder, 'queue.db'), at, Buffer.from('x'));
  const logged: string[] = [];
  const again = await openIn(t, folder, { logged });
  assert.match(logged.join('\n'), /index of the queue was damaged/);
  assert.deepEqual(await again.destinations(NOW, 10), { due: [{ destination: 'one.test', dueMs: NOW }] });
  assert.deepEqual(await drained(again), ids(all));
  assert.equal(again.health().hindrance, undefined);
});

/** A process that holds a spool, and ends as a relay does when that fails. */
const HOLDER = `
const onFatal = (error) => {
  console.log(error.message);
  process.exit(70);
};
import(${JSON.stringify(new URL('./open.ts', import.meta.url).href)}).then(({ openSpool }) =>
  openSpool({ folder: process.argv[1], lockWaitMs: 0, log: () => {}, onFatal, now: Date.now }),
);
setInterval(() => {}, 1_000);
`;

test('a flipped bit in an index of a queue too large for a check at the start: it is found while it runs', async (t) => {
  const { folder, all, spool } = await filled(t, 300);
  const large = Buffer.alloc(200 * 1024, 'x');
  for (let n = 0; n < 400; n++) await accept(spool, large, to('large@two.test'));
  const unharmed = await spool.stats();
  await spool.park(all.flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
  await spool.close();

  const whole = asKilled(t, folder);
  const logged: string[] = [];
  const sound = await openIn(t, whole, { logged });
  assert.ok(sound.health().unchecked);
  while (sound.health().unchecked) await sleep(20);
  assert.match(logged.join(), /too large to be checked before the start.*the queue is checked/);

  const [page = 0] = pagesOf(folder, 10, 'one.test');
  const at = readFileSync(path.join(folder, 'queue.db')).indexOf('one.test', page);
  assert.ok(page > 0 && at > page && at < page + PAGE);
  overwrite(path.join(folder, 'queue.db'), at, Buffer.from('x'));
  const child = spawn(process.execPath, ['-e', HOLDER, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.match(said, /delivery row \d+ waits for its time, and the index of due times does not have it/);
  assert.equal(code, 70);

  const again = await openIn(t, folder, { logged });
  assert.match(logged.join(), /an index of the queue was damaged; it is made anew/);
  assert.equal(again.health().hindrance, undefined, 'mail is taken');
  const { messages, deliveries } = await again.stats();
  assert.deepEqual([messages, deliveries], [unharmed.messages, unharmed.deliveries]);
  assert.equal((await again.take('one.test', { nowMs: NOW, limit: 1_000 })).deliveries.length, 300);
});

test('an index page of rubbish: the index is made anew, nothing is lost', async (t) => {
  const { folder, all, spool } = await filled(t, 300);
  await spool.park(all.flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
  await spool.close();
  const [page = 0] = pagesOf(folder, 10, 'one.test');
  overwrite(path.join(folder, 'queue.db'), page, Buffer.alloc(PAGE, 0xa5));
  const logged: string[] = [];
  const again = await openIn(t, folder, { logged });
  assert.match(logged.join('\n'), /made anew, and nothing is lost/);
  assert.deepEqual(await drained(again), ids(all));
  assert.equal(again.health().hindrance, undefined, 'mail is taken');
});

for (const [table, holds] of [
  ['message', 'sender@example.test'],
  ['delivery', 'user-150@one.test'],
  ['body', 'message 150 '],
] as const) {
  test(`a page of rubbish in the table ${table}: what it held is told to be lost, the rest is delivered`, async (t) => {
    const { folder, all, spool } = await filled(t, 300);
    await spool.close();
    const pages = pagesOf(folder, 13, holds);
    const page = pages[Math.floor(pages.length / 2)] ?? 0;
    assert.ok(page > 0);
    overwrite(path.join(folder, 'queue.db'), page, Buffer.alloc(PAGE, 0xa5));

    const logged: string[] = [];
    const fields: Record<string, unknown>[] = [];
    const again = await openIn(t, folder, {
      log: (_level, message, more) => {
        logged.push(message);
        if (more) fields.push(more);
      },
    });
    await takesNoMail(again, /pages of the queue were damaged: of \d+ messages something is lost/);
    const delivered = await drained(again);
    const lost = ids(all).filter((queueId) => !delivered.includes(queueId));
    assert.ok(lost.length > 0 && lost.length < 300, `${lost.length} are lost`);
    assert.deepEqual(
      delivered,
      ids(all).filter((queueId) => !lost.includes(queueId)),
    );
    const told = JSON.stringify(fields);
    for (const queueId of lost.slice(0, 50)) assert.ok(told.includes(queueId), `${queueId} is told to be lost`);
    const lostFiles = readdirSync(path.join(folder, 'lost'));
    for (const queueId of lost)
      assert.ok(
        lostFiles.some((name) => name.startsWith(queueId)),
        `what is left of ${queueId} is kept`,
      );
    assert.ok(
      readdirSync(folder).some((name) => name.startsWith('queue.db.damaged-')),
      'the damaged database is kept',
    );
  });
}

test('a missing database is refused however often it is tried', async (t) => {
  const { folder, spool } = await filled(t, 3);
  await spool.close();
  rmSync(path.join(folder, 'queue.db'));
  for (let n = 0; n < 2; n++) {
    await assert.rejects(
      openIn(t, folder),
      (error) => error instanceof SpoolDamage && /database of .* is missing.*spool recover/.test(error.message),
    );
  }
});
