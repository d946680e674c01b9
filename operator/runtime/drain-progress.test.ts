import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DrainProgress } from './drain-progress.ts';

test('a drain is stuck when its queue does not shrink: soon where the replica says why, after minutes otherwise', () => {
  const progress = new DrainProgress();
  progress.note(5, undefined, 1_000);
  assert.equal(progress.againMs(1_000), 300_000);
  assert.equal(progress.stuck(300_999), undefined);
  assert.equal(progress.stuck(301_000), 'no message has left it for 5 minutes');
  progress.note(5, 'replica 0 does not answer', 302_000);
  assert.equal(progress.stuck(302_000), 'replica 0 does not answer');
  progress.note(4, 'replica 0 does not answer', 303_000);
  assert.equal(progress.stuck(312_999), undefined);
  assert.equal(progress.againMs(312_999), 1);
  assert.equal(progress.stuck(313_000), 'replica 0 does not answer');
});

test('new mail of an open session is no progress, and an empty queue is not stuck', () => {
  const progress = new DrainProgress();
  progress.note(2, undefined, 0);
  progress.note(3, undefined, 200_000);
  progress.note(2, undefined, 250_000);
  assert.notEqual(progress.stuck(300_000), undefined);
  progress.note(0, undefined, 300_000);
  assert.equal(progress.stuck(9e9), undefined);
  assert.equal(progress.againMs(9e9), undefined);
});
