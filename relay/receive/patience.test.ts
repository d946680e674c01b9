import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Patience } from './patience.ts';

test('a command has to come in its time', () => {
  const patience = new Patience(300_000, 0);
  assert.equal(patience.leftMs(299_999), 1);
  assert.equal(patience.waitedMs(299_999), 299_999);
  patience.renew(299_999);
  assert.equal(patience.leftMs(299_999), 300_000);
});

test('a handshake has less, and never more than a command', () => {
  const patience = new Patience(30_000, 0);
  patience.renew(0, 10_000);
  assert.equal(patience.leftMs(9_000), 1_000);
  patience.renew(0, 60_000);
  assert.equal(patience.leftMs(0), 30_000);
});

test('content that drips in byte by byte a second lasts hardly longer than silence', () => {
  const patience = new Patience(300_000, 0);
  let second = 0;
  for (; patience.leftMs(second * 1_000) > 0; second += 1) patience.prolong(1, second * 1_000);
  assert.ok(second >= 300 && second < 303, `${second} s`);
});

test('content at 500 bytes a second may take as long as it likes', () => {
  const patience = new Patience(10_000, 0);
  for (let second = 1; second < 10_000; second += 1) {
    assert.ok(patience.leftMs(second * 1_000) > 0, `${second} s`);
    patience.prolong(500, second * 1_000);
  }
});

test('content that came fast buys no more than the full time', () => {
  const patience = new Patience(10_000, 0);
  patience.prolong(1_000_000, 1_000);
  assert.equal(patience.leftMs(1_000), 10_000);
});
