import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { Hastening } from './hasten.ts';
import type { Place } from './lanes.ts';

const MARK = 2 ** 52 + 7;

for (const [what, by, expected] of [
  ['what is later comes earlier', { nowMs: 100, afterMs: 100, byMs: 50 }, [90, 100, 150, 950, null, MARK]],
  ['nothing comes before now', { nowMs: 100, afterMs: 100, byMs: 5_000 }, [90, 100, 100, 100, null, MARK]],
  ['what is not that late stays', { nowMs: 100, afterMs: 500, byMs: 5_000 }, [90, 100, 200, 100, null, MARK]],
] as const) {
  test(`${what}; what is in memory, and what is marked, stays as it is`, () => {
    const db = new DatabaseSync(':memory:');
    db.exec('CREATE TABLE delivery (id INTEGER PRIMARY KEY, destination TEXT, sender TEXT, due INTEGER)');
    const insert = db.prepare('INSERT INTO delivery (destination, sender, due) VALUES (?, ?, ?)');
    for (const [index, due] of [90, 100, 200, 1_000, null, MARK].entries()) insert.run(`d${index}`, 's', due);
    const hastening = new Hastening(db);
    const lanes: Place[] = [];
    for (let afterId: number | undefined = 0; afterId !== undefined; ) {
      // Two at a time: what is brought forward is not looked at again.
      const { places, next }: ReturnType<Hastening['apply']> = hastening.apply(by, afterId, 2);
      assert.ok(places.length <= 2);
      lanes.push(...places);
      afterId = next;
    }
    const rows = db.prepare('SELECT destination, due FROM delivery ORDER BY id').all();
    assert.deepEqual(
      rows.map(({ due }) => due),
      expected,
    );
    const before = [90, 100, 200, 1_000, null, MARK];
    const changed = rows.filter(({ due }, index) => due !== before[index]).map(({ destination }) => destination);
    assert.deepEqual(
      lanes.map(({ destination }) => destination),
      changed,
    );
    assert.deepEqual(
      lanes.map(({ dueMs }) => dueMs),
      expected.filter((due, index) => due !== before[index]),
    );
    db.close();
  });
}
