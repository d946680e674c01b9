import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from './tally.ts';

const count = (destination: string, recipients: number, reason = '') => ({ destination, reason, recipients, held: 0 });

function add(tally: Tally, destination: string, recipients: number, reason = '', held = false): void {
  for (let count = 0; count < recipients; count += 1) tally.add(destination, reason, held);
}

test('recipients are counted by destination and reason, largest first', () => {
  const tally = new Tally();
  add(tally, 'a.test', 4);
  add(tally, 'b.test', 2);
  add(tally, 'a.test', 1, '451 4.7.1');
  add(tally, 'b.test', 1, '', true);
  assert.deepEqual(tally.counts(), {
    recipients: 8,
    rows: [count('a.test', 4), { ...count('b.test', 3), held: 1 }, count('a.test', 1, '451 4.7.1')],
  });
});

test('of more destinations than it keeps, the large ones stay, and the sum is of all', () => {
  const tally = new Tally(100);
  for (let part = 0; part < 200; part += 1) {
    for (let index = 0; index < 50; index += 1) add(tally, `small-${part}-${index}.test`, 1);
    add(tally, 'dead.test', 10);
    add(tally, 'slow.test', 5);
  }
  const { recipients, rows } = tally.counts();
  assert.equal(recipients, 200 * (50 + 10 + 5));
  assert.deepEqual(rows.slice(0, 2), [count('dead.test', 2_000), count('slow.test', 1_000)]);
  assert.ok(rows.length <= 100);
});
