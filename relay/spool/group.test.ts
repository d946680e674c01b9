import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Applied, Changes } from './changes.ts';
import { openDatabase } from './database.ts';
import { GroupCommit } from './group.ts';
import type { Change } from './requests.ts';
import { Totals } from './totals.ts';
import { UsageTable } from './usage.ts';

async function databaseFor(t: TestContext) {
  const folder = mkdtempSync(path.join(tmpdir(), 'group-'));
  const { db } = await openDatabase(folder, 0, { onWait: () => undefined, beforeCreate: () => undefined });
  t.after(() => {
    db.close();
    rmSync(folder, { recursive: true });
  });
  const rows = (table: string) =>
    db
      .prepare(`SELECT id FROM ${table} ORDER BY id`)
      .all()
      .map(({ id }) => id);
  return { db, rows };
}

function accept(id: number, bytes = 10): Change {
  const deliveries = [{ destination: 'one.test', recipients: '[]' }];
  return {
    kind: 'accept',
    usage: undefined,
    message: { id, envelope: '{}', sender: '', body: new Uint8Array(bytes), deliveries },
  };
}

function finish(delivery: number): Change {
  const outcome = { delivery, attempts: 1, recipients: undefined, dueMs: 0, signature: undefined, intent: undefined };
  return { kind: 'record', outcomes: [outcome], spawned: [] };
}

const verdicts = (outcomes: ReturnType<GroupCommit['run']>) =>
  outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.failure.reason));

test('a change that fails half way takes back its own half and nothing else', async (t) => {
  const { db, rows } = await databaseFor(t);
  const group = new GroupCommit(db, new Changes(db, new UsageTable(db, 0)), new Totals(db), () => false);
  const halfWay: Change = {
    kind: 'record',
    outcomes: [],
    spawned: [accept(5), accept(6), accept(1)].flatMap((change) => (change.kind === 'accept' ? [change.message] : [])),
  };
  assert.deepEqual(verdicts(group.run([accept(1), halfWay, accept(2)])), ['ok', 'refused', 'ok']);
  assert.deepEqual(rows('message'), [1, 2]);
  assert.equal(rows('delivery').length, 2);
  assert.deepEqual(new Totals(db).get(), { messages: 2, deliveries: 2 });
});

test('wherever a change breaks off, all of it is there or nothing', async (t) => {
  const { db, rows } = await databaseFor(t);
  const real = new Changes(db, new UsageTable(db, 0));
  const setUp = new GroupCommit(db, real, new Totals(db), () => false).run([accept(1), accept(2)]);
  assert.deepEqual(verdicts(setUp), ['ok', 'ok']);
  const breaking = {
    apply(change: Change): Applied {
      const applied = real.apply(change);
      if (change.kind === 'record') throw new Error('power is gone');
      return applied;
    },
  };
  const group = new GroupCommit(db, breaking, new Totals(db), () => false);
  assert.deepEqual(verdicts(group.run([finish(1), accept(3)])), ['refused', 'ok']);
  assert.deepEqual(rows('message'), [1, 2, 3]);
  assert.deepEqual(verdicts(new GroupCommit(db, real, new Totals(db), () => false).run([finish(1)])), ['ok']);
  assert.deepEqual(rows('message'), [2, 3]);
  assert.deepEqual(new Totals(db).get(), { messages: 2, deliveries: 2 });
});

test('a disk too full for new mail still takes the outcomes of its group', async (t) => {
  const { db, rows } = await databaseFor(t);
  const group = new GroupCommit(db, new Changes(db, new UsageTable(db, 0)), new Totals(db), () => false);
  assert.deepEqual(verdicts(group.run([accept(1), accept(2)])), ['ok', 'ok']);
  const pages = Number(Object.values(db.prepare('PRAGMA page_count').get() ?? {})[0]);
  db.exec(`PRAGMA max_page_count = ${pages}`);
  assert.deepEqual(verdicts(group.run([accept(3, 200_000), finish(1)])), ['full', 'ok']);
  assert.deepEqual(rows('message'), [2]);
  assert.equal(db.isTransaction, false);
  db.exec('PRAGMA max_page_count = 1000000');
  assert.deepEqual(verdicts(group.run([accept(3, 200_000)])), ['ok']);
  assert.deepEqual(new Totals(db).get(), { messages: 2, deliveries: 2 });
});

test('a queue that did not keep its totals is counted, and so is one whose rows may have gone', async (t) => {
  const { db } = await databaseFor(t);
  const group = new GroupCommit(db, new Changes(db, new UsageTable(db, 0)), { add: () => undefined }, () => false);
  group.run([accept(1), accept(2)]);
  const totals = new Totals(db);
  assert.deepEqual(totals.get(), { messages: 2, deliveries: 2 });
  db.exec('DELETE FROM message WHERE id = 1');
  totals.recount();
  assert.deepEqual(totals.get(), { messages: 1, deliveries: 2 });
});
