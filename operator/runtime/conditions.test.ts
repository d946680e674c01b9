import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Condition } from '../../crds/common.ts';
import { conditionEvents, readyFrom, setCondition } from './conditions.ts';

const THEN = '2026-01-01T00:00:00Z';
const NOW = '2026-02-01T00:00:00Z';
const clock = (): number => Date.parse(NOW) + 250;
const condition = (status: Condition['status'], reason: string, message = ''): Condition => ({
  type: 'Accepted',
  status,
  reason,
  message,
  observedGeneration: 1,
  lastTransitionTime: THEN,
});

describe('lastTransitionTime', () => {
  for (const [sentence, previous, expected] of [
    ['is now for a new condition', undefined, NOW],
    ['stays when only the reason changes', condition('True', 'Before'), THEN],
    ['is now when the status flips', condition('False', 'Before'), NOW],
    ['is now when it was unknown', condition('Unknown', 'Before'), NOW],
  ] as const) {
    it(sentence, () => {
      const next = setCondition(previous, condition('True', 'After'), clock);
      assert.equal(next.lastTransitionTime, expected);
      assert.equal(next.reason, 'After');
    });
  }
});

describe('Ready', () => {
  it('is True when all the others are', () => {
    assert.equal(readyFrom([condition('True', 'A'), condition('True', 'B')]).status, 'True');
  });
  it('is False with the reason of the first that is not', () => {
    const ready = readyFrom([condition('True', 'A'), condition('Unknown', 'B'), condition('False', 'C')]);
    assert.deepEqual([ready.status, ready.reason], ['False', 'B']);
  });
});

describe('events', () => {
  it('tell of a refusal once', () => {
    const refused = [condition('False', 'RelayNotFound', 'no relay')];
    assert.deepEqual(conditionEvents(undefined, refused), [
      { type: 'Warning', reason: 'RelayNotFound', message: 'no relay' },
    ]);
    assert.deepEqual(conditionEvents(refused, refused), []);
  });
  it('tell when an object turns ready, and do not tell that a new one is not ready yet', () => {
    const ready = { ...condition('True', 'Ready', 'In force.'), type: 'Ready' };
    const unready = { ...condition('False', 'KeysMissing'), type: 'Ready' };
    assert.deepEqual(conditionEvents(undefined, [unready]), []);
    assert.deepEqual(conditionEvents([unready], [ready]), [{ type: 'Normal', reason: 'Ready', message: 'In force.' }]);
  });
});
