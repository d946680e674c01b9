import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { endsBecause, type RemovalFacts } from './removal.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const facts: RemovalFacts = {
  ...{
    draining: true,
    sinceMs: NOW - 1_000,
    nowMs: NOW,
    drainTimeoutMs: 600_000,
    skipDrain: false,
    namespaceGoes: false,
  },
};

describe('the replicas of a deleted relay', () => {
  it('go on while they hold mail', () => assert.equal(endsBecause(facts), undefined));

  const ends: readonly [sentence: string, facts: Partial<RemovalFacts>, why: RegExp][] = [
    ['all queues are empty', { draining: false }, /empty/],
    ['their time is over', { sinceMs: NOW - 600_000 }, /drainTimeout/],
    ['no time is given', { drainTimeoutMs: 0 }, /drainTimeout/],
    ['their owner says so', { skipDrain: true }, /skip-drain/],
    ['all that is in their namespace goes', { namespaceGoes: true }, /namespace/],
  ];
  for (const [sentence, more, why] of ends) {
    it(`end when ${sentence}`, () => assert.match(endsBecause({ ...facts, ...more }) ?? '', why));
  }
});
