import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isExpired, nextAttemptMs } from './retry.ts';

const retry = { scheduleMs: [1_000, 2_000, 4_000], expireAfterMs: 60_000 };
const at = { arrivedMs: 0, nowMs: 10_000, attempts: 1, random: 0.5 };

for (const [what, input, expected] of [
  ['the first wait follows the first attempt', {}, 11_000],
  ['each attempt takes the next wait', { attempts: 2 }, 12_000],
  ['the last wait repeats', { attempts: 9 }, 14_000],
  ['jitter takes up to a tenth off', { random: 0 }, 10_900],
  ['jitter adds up to a tenth', { random: 1 }, 11_100],
  ['the last attempt falls on the moment of expiry', { nowMs: 58_000, attempts: 3 }, 60_000],
  ['what should have expired already is due at once', { nowMs: 70_000 }, 70_000],
] as const) {
  test(what, () => assert.equal(nextAttemptMs(retry, { ...at, ...input }), expected));
}

test('a message expires by its age, counted from arrival', () => {
  assert.equal(isExpired(retry, { arrivedMs: 5_000, nowMs: 64_999, attempts: 1 }), false);
  assert.equal(isExpired(retry, { arrivedMs: 5_000, nowMs: 65_000, attempts: 1 }), true);
});

test('a message from the future, since the clock was set back, expires by the waits between its attempts', () => {
  const future = { arrivedMs: 365 * 86_400_000, nowMs: 0 };
  // 1 + 2 + 14 * 4 seconds, and 4 more.
  assert.equal(isExpired(retry, { ...future, attempts: 17 }), false);
  assert.equal(isExpired(retry, { ...future, attempts: 18 }), true);
});
