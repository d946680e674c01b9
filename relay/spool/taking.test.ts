import assert from 'node:assert/strict';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { accept, folderFor, NOW, openIn, to } from '../../test/harness/spool.ts';
import { DATABASE_FILE } from './database.ts';
import { Lanes } from './lanes.ts';
import { Questions } from './questions.ts';
import { messageCrc, messageRow } from './rows.ts';
import { Taking } from './taking.ts';

const WISH = { nowMs: NOW, limit: 10 };

/** A queue of three messages for one destination, that nobody has open. */
async function queueOf(t: TestContext, folder = folderFor(t)): Promise<DatabaseSync> {
  const spool = await openIn(t, folder);
  for (const user of ['ann', 'bob', 'cem']) await accept(spool, user, to(`${user}@one.test`));
  await spool.close();
  // What was in memory is due by then.
  await (await openIn(t, folder)).close();
  const db = new DatabaseSync(path.join(folder, DATABASE_FILE));
  t.after(() => db.isOpen && db.close());
  return db;
}

for (const [what, fail, mend, problem] of [
  [
    'rows cannot be read',
    'ALTER TABLE message RENAME TO away',
    'ALTER TABLE away RENAME TO message',
    /no such table: main\.message|no such table: message/,
  ],
  [
    'its next due time cannot be written',
    `CREATE TEMP TRIGGER full BEFORE DELETE ON destination BEGIN SELECT RAISE(FAIL, 'no room'); END`,
    'DROP TRIGGER full',
    /no room/,
  ],
] as const) {
  test(`when ${what}, nothing stays in hand, it is told, and all is taken when it is asked again`, async (t) => {
    const db = await queueOf(t);
    const logged: string[] = [];
    const lanes = new Lanes(db);
    const taking = new Taking(lanes, new Questions(db, () => undefined), (_level, message) => logged.push(message));
    db.exec(fail);
    assert.throws(() => taking.take('one.test', WISH), problem);
    assert.match(logged.join(), /what is due cannot be read, and is looked for again: /);
    assert.deepEqual([taking.failures, taking.setAside], [1, 0]);
    db.exec(mend);
    assert.deepEqual(
      lanes.destinations(NOW, 10, undefined).due.map(({ destination }) => destination),
      ['one.test'],
    );
    assert.equal(taking.take('one.test', WISH).deliveries.length, 3);
  });
}

test('a delivery of a form that this version does not know is left out and told, the others go on', async (t) => {
  const folder = folderFor(t);
  const db = await queueOf(t, folder);
  const columns = db.prepare('SELECT * FROM message ORDER BY id LIMIT 1 OFFSET 1').get();
  assert.ok(columns);
  const row = { ...messageRow(columns), envelope: '{"version":2}' };
  db.prepare('UPDATE message SET envelope = ?, crc = ? WHERE id = ?').run(row.envelope, messageCrc(row), row.id);
  db.close();

  const logged: string[] = [];
  const spool = await openIn(t, folder, { logged });
  const { deliveries } = await spool.take('one.test', WISH);
  assert.deepEqual(
    deliveries.map(({ recipients }) => recipients[0]?.address),
    ['ann@one.test', 'cem@one.test'],
  );
  assert.match(logged.join(), /a delivery cannot be understood; left out until the next start: .*version/);
  assert.equal(spool.health().setAside, 1);
});
