import assert from 'node:assert/strict';
import { test } from 'node:test';
import { durationMs } from './duration.ts';
import { quantityBytes } from './quantity.ts';

test('a duration adds up its parts', () => {
  for (const [text, ms] of [
    ['0s', 0],
    ['250ms', 250],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1h1m1s1ms', 3_661_001],
    ['120h', 432_000_000],
  ] as const) {
    assert.equal(durationMs(text), ms, text);
  }
});

test('what GEP-2257 does not know is no duration', () => {
  for (const text of ['', '5', '5d', '1.5h', '-1s', '1h 30m', '1S', '123456s', '1s\n']) {
    assert.throws(() => durationMs(text), RangeError, JSON.stringify(text));
  }
});

test('a quantity has powers of 1024 with i, and of 1000 without', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['512', 512],
    ['1k', 1000],
    ['1Ki', 1024],
    ['50Mi', 52_428_800],
    ['1G', 1e9],
    ['2Ti', 2 * 2 ** 40],
  ] as const) {
    assert.equal(quantityBytes(text), bytes, text);
  }
});

test('other text is no quantity of bytes', () => {
  for (const text of ['', 'Mi', '1.5Gi', '50MB', '-1', '1e6', '1m']) {
    assert.throws(() => quantityBytes(text), RangeError, JSON.stringify(text));
  }
});
