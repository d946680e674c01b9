import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RelayReplica } from '../../backend.ts';
import type { Pod } from './pod.ts';
import type { ReplicaReport } from './replica-report.ts';
import { type ReplicaFacts, replicaView } from './replica-view.ts';

const pod = (fields: Partial<Pod> = {}): Pod => ({
  ...{ namespace: 'mail', name: 'outbound-0', uid: 'u', ordinal: 0, deleting: false, controlled: true, ready: true },
  ...{ acceptsMail: 'true', refresh: undefined, relay: { id: 'c', restarts: 0, started: true } },
  ...fields,
});
const report = (messages: number): ReplicaReport => ({
  ...{ version: '1.0.0', configHash: 'hash', rejected: [], draining: false, queue: { messages } },
});
const view = (facts: Partial<ReplicaFacts>): RelayReplica => replicaView({ ordinal: 0, wanted: true, ...facts });

describe('a replica that is wanted', () => {
  const states: readonly [sentence: string, facts: Partial<ReplicaFacts>, state: RelayReplica['state']][] = [
    ['has no pod yet', {}, 'Starting'],
    ['has a pod without a process', { pod: pod({ ready: false, relay: undefined as never }) }, 'Starting'],
    ['is ready', { pod: pod() }, 'Ready'],
    ['was started and is not ready', { pod: pod({ ready: false }) }, 'Unready'],
    ['is restarted', { pod: pod({ ready: false, relay: { id: 'c', restarts: 1, started: false } }) }, 'Unready'],
    ['is about to go, for an update', { pod: pod({ deleting: true }) }, 'Unready'],
  ];
  for (const [sentence, facts, state] of states)
    it(`${sentence}: ${state}`, () => assert.equal(view(facts).state, state));

  it('is known by what it reports, and unknown while nobody could ask it', () => {
    const { version, configHash } = view({ pod: pod(), report: report(3) });
    assert.deepEqual([version, configHash], ['1.0.0', 'hash']);
    assert.equal(view({ pod: pod() }).configHash, undefined);
  });

  it('does not tell how much waits: that changes all the time', () => {
    const { queued, left } = view({ pod: pod(), report: report(3) });
    assert.deepEqual([queued, left], [undefined, undefined]);
  });

  it('has the trouble of its pod before that of all', () => {
    const hindrance = { reason: 'NameTaken', message: '' };
    assert.equal(view({ pod: pod(), hindrance }).problem?.reason, 'NameTaken');
    assert.equal(view({ pod: pod({ unscheduled: 'no room' }), hindrance }).problem?.reason, 'Unschedulable');
  });
});

describe('a replica that is no longer wanted', () => {
  const gone: readonly [sentence: string, facts: Partial<ReplicaFacts>, told: string][] = [
    [
      'drains while it has a pod',
      { pod: pod(), claim: { marked: false }, report: report(2) },
      'Draining queued 2 left',
    ],
    [
      'may be empty before that is sure',
      { pod: pod(), claim: { marked: false }, report: report(0) },
      'Draining empty 0 left',
    ],
    ['drains until its pod is gone', { pod: pod(), claim: { marked: true } }, 'Draining empty'],
    ['has stopped once its claim is marked', { claim: { marked: true } }, 'Stopped empty'],
    ['is started again for a claim that is not', { claim: { marked: false } }, 'Draining'],
  ];
  for (const [sentence, facts, told] of gone) {
    it(sentence, () => {
      const { state, queued, left } = view({ wanted: false, ...facts });
      const queue = queued === undefined ? '' : ` ${queued ? 'queued' : 'empty'}`;
      assert.equal(`${state}${queue}${left === undefined ? '' : ` ${left} left`}`, told);
    });
  }
});
