import assert from 'node:assert/strict';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { accept, folderFor, openIn, to } from '../../test/harness/spool.ts';
import { DATABASE_FILE } from './database.ts';
import { Search } from './search.ts';

/** Looks through 1,200 messages to two destinations; each look at the clock finds it `stepMs` later. */
async function searchOf(t: TestContext, stepMs: number): Promise<Search> {
  const folder = folderFor(t);
  const spool = await openIn(t, folder);
  await Promise.all(
    Array.from({ length: 1_200 }, (_, index) =>
      accept(spool, 'content', to(`user${index}@${index % 3 ? 'one' : 'two'}.test`)),
    ),
  );
  await spool.close();
  const db = new DatabaseSync(path.join(folder, DATABASE_FILE), { readOnly: true });
  t.after(() => db.close());
  let nowMs = 0;
  return new Search(
    db,
    () => undefined,
    () => {
      nowMs += stepMs;
      return nowMs;
    },
  );
}

const undamaged = (error: Error): void => assert.fail(error.message);

test('a look through the queue ends when its time is over, and says where to go on', async (t) => {
  const search = await searchOf(t, 30);
  const nobody = { recipient: 'nobody@one.test' };
  const parts: (number | undefined)[] = [];
  for (let afterId: number | undefined = 0; afterId !== undefined; ) {
    const { messages, nextId } = search.search(nobody, afterId, 10, undamaged);
    assert.deepEqual(messages, []);
    parts.push(nextId);
    afterId = nextId;
  }
  assert.deepEqual(parts, [500, 1_000, undefined], 'the clock is looked at after every 250 messages');
});

test('with time left, one look goes through all of it', async (t) => {
  const search = await searchOf(t, 1);
  const { messages, nextId } = search.search({ recipient: 'user1199@one.test' }, 0, 10, undamaged);
  assert.deepEqual([messages.length, nextId], [1, undefined]);
});

test('a count goes on where its time was over, and tells at its end', async (t) => {
  const search = await searchOf(t, 30);
  assert.deepEqual(search.counts(0), { nextId: 500 });
  assert.deepEqual(search.counts(500), { nextId: 1_000 });
  const { counts } = search.counts(1_000);
  assert.deepEqual(
    [counts?.recipients, counts?.rows.map(({ destination, recipients }) => `${destination} ${recipients}`)],
    [1_200, ['one.test 800', 'two.test 400']],
  );
});

test('a count that begins anew forgets what one before it had counted', async (t) => {
  const search = await searchOf(t, 30);
  search.counts(0);
  assert.deepEqual(search.counts(0), { nextId: 500 });
  search.counts(500);
  assert.equal(search.counts(1_000).counts?.recipients, 1_200);
});
