import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type OrdinalFacts, planScale } from './scale.ts';

/** One letter per ordinal: h holds mail or may, e says it is empty, m its claim is marked, - it has no claim. */
const facts = (letters: string): OrdinalFacts[] =>
  Array.from(letters, (letter, ordinal) => ({
    ordinal,
    empty: letter === 'e',
    ...(letter !== '-' && { claim: { marked: letter === 'm' } }),
  }));

describe('how many pods a relay has', () => {
  const cases: readonly [sentence: string, wanted: number, ordinals: string, replicas: number, marked: number[]][] = [
    ['as many as wanted, at first', 3, '', 3, []],
    ['as many as wanted, while all of them are', 3, 'hhh', 3, []],
    ['a replica that is no longer wanted stays while it holds mail', 1, 'hhh', 3, []],
    ['one that is empty is marked and goes', 1, 'he', 1, [1]],
    ['all that are empty go at once', 1, 'hee', 1, [1, 2]],
    ['one that is empty waits for the one above it, marked', 1, 'heh', 3, [1]],
    ['the one above does not wait for the one below', 1, 'hhe', 2, [2]],
    ['marked ones are gone, and stay so', 1, 'hmm', 1, []],
    ['a queue beyond the replicas that is not marked has its replica started again', 1, 'h--h', 4, []],
    ['so has one beyond marked ones', 1, 'hmh', 3, []],
    ['a claim that was deleted holds nobody up', 1, 'h-e', 1, [2]],
    ['of none wanted, each goes when it is empty', 0, 'ehe', 2, [0, 2]],
    ['none is left when all are', 0, 'em', 0, [0]],
    ['an empty queue of a replica that is wanted is not marked', 2, 'ee', 2, []],
  ];
  for (const [sentence, wanted, ordinals, replicas, mark] of cases) {
    it(sentence, () => {
      const plan = planScale(wanted, facts(ordinals));
      assert.deepEqual(plan, { replicas, mark, unmark: [] });
    });
  }

  it('a mark goes as soon as the replica is wanted again', () => {
    assert.deepEqual(planScale(3, facts('hmmm')), { replicas: 3, mark: [], unmark: [1, 2] });
  });
});
