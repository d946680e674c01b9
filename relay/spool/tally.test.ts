import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from './tally.ts';

const count = (destination: string, recipients: number, reason = '') => ({ destination, reason, recipients, held: 0 });

test('what was counted in parts is added up, largest first', () => {
  const tally = new Tally();
  tally.add([count('a.test', 1), count('b.test', 2)]);
  tally.add([count('a.test', 3), count('a.test', 1, '451 4.7.1'), { ...count('b.test', 1), held: 1 }]);
  assert.deepEqual(tally.counts(), {
    recipients: 8,
    rows: [count('a.test', 4), { ...count('b.test', 3), held: 1 }, count('a.test', 1, '451 4.7.1')],
  });
});

test('of more destinations than it keeps, the large ones stay, and the sum is of all', () => {
  const tally = new Tally(100);
  for (let part = 0; part < 200; part += 1) {
    const small = Array.from({ length: 50 }, (_, index) => count(`small-${part}-${index}.test`, 1));
    tally.add([...small, count('dead.test', 10), count('slow.test', 5)]);
  }
  const { recipients, rows } = tally.counts();
  assert.equal(recipients, 200 * (50 + 10 + 5));
  assert.deepEqual(rows.slice(0, 2), [count('dead.test', 2_000), count('slow.test', 1_000)]);
  assert.ok(rows.length <= 100);
});
