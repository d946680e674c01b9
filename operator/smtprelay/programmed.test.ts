import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { relay } from '../../test/harness/manifests.ts';
import type { RelayGroup, RelayReplica } from '../backend.ts';
import { entryProgrammed, relayProgrammed } from './programmed.ts';
import { findDomain, relayGroup } from './relay-group.ts';

const entry = { name: 'default/example', domain: 'example.test', dkim: { sign: false, keys: [] } };
const groupOf = (...domains: readonly (typeof entry)[]): RelayGroup =>
  relayGroup({
    relay: relay('outbound'),
    certificate: { chain: 'chain', key: 'key' },
    domains,
    users: [],
    bindPort: (port) => port,
  });
const without = groupOf();
const withIt = groupOf(entry);
const withMore = groupOf(entry, { ...entry, domain: 'other.test' });
const groups = new Map([without, withIt, withMore].map((group) => [group.configHash, group]));

const at = (ordinal: number, group: RelayGroup, rejected: readonly string[] = []): RelayReplica => ({
  ordinal,
  state: 'Ready',
  configHash: group.configHash,
  rejected,
});
const complaint = `${findDomain(withIt, entry)?.file}[0]: /domain is wrong`;
const TRUE = { type: 'Programmed', status: 'True', reason: 'Programmed', message: 'As before.' } as const;
const UNASKED: RelayReplica = { ordinal: 0, state: 'Ready', rejected: [] };

describe('a domain is Programmed', () => {
  const cases: readonly (readonly [string, string, readonly RelayReplica[]])[] = [
    ['when the config of every ready replica holds it', 'Programmed', [at(0, withIt), at(1, withIt)]],
    ['also when one lags behind, at a config that holds it already', 'Programmed', [at(0, withIt), at(1, withMore)]],
    ['not while one is at a config without it', 'Pending', [at(0, withIt), at(1, without)]],
    ['not while one reports a config that nobody knows', 'Pending', [{ ...at(0, withIt), configHash: 'unknown' }]],
    ['not without a ready replica', 'NoReadyReplica', [{ ...at(0, withIt), state: 'Starting' }]],
    ['not when a replica left it out', 'RejectedByRelay', [at(0, withIt, [complaint])]],
    ['also when a replica left out another', 'Programmed', [at(0, withIt, ['domains-00.json[7]: wrong'])]],
  ];
  for (const [sentence, reason, replicas] of cases) {
    it(sentence, () => {
      const view = { name: 'outbound', replicas, groups };
      assert.equal(entryProgrammed([view], (group) => findDomain(group, entry), undefined).reason, reason);
    });
  }

  it('only when all its relays have it', () => {
    const views = [withIt, without].map((group, index) => ({
      name: `relay-${index}`,
      replicas: [at(0, group)],
      groups,
    }));
    const { reason, message } = entryProgrammed(views, (group) => findDomain(group, entry), undefined);
    assert.equal(reason, 'Pending');
    assert.match(message, /relay-1/);
  });

  it('as it was before, as long as nothing was applied since the start', () => {
    const view = { name: 'outbound', replicas: [at(0, withIt)], groups: new Map() };
    assert.deepEqual(
      entryProgrammed([view], (group) => findDomain(group, entry), [TRUE]),
      TRUE,
    );
  });

  it('as it was before, while one of its replicas was not asked yet', () => {
    const view = { name: 'outbound', replicas: [at(0, withIt), { ...UNASKED, ordinal: 1 }], groups };
    const judged = (known: readonly (typeof TRUE)[]) =>
      entryProgrammed([view], (group) => findDomain(group, entry), known);
    assert.deepEqual(judged([TRUE]), TRUE);
    assert.equal(judged([]).reason, 'Pending');
  });

  it('not as something else: an edit counts once replicas have it', () => {
    const view = { name: 'outbound', replicas: [at(0, withIt)], groups };
    const edited = { ...entry, dkim: { sign: true, keys: [] } };
    assert.equal(entryProgrammed([view], (group) => findDomain(group, edited), [TRUE]).reason, 'Pending');
  });
});

describe('a relay is Programmed', () => {
  const unasked = (ordinal: number): RelayReplica => ({ ...UNASKED, ordinal });
  const refusing = (ordinal: number): RelayReplica => ({ ...at(ordinal, without), configProblem: 'It is too old.' });
  const silent = (ordinal: number): RelayReplica => ({ ...unasked(ordinal), silent: true });
  const cases: readonly (readonly [sentence: string, told: string, replicas: readonly RelayReplica[]])[] = [
    ['when every ready replica reports its config', 'True Programmed', [at(0, withIt), at(1, withIt)]],
    ['not while one reports another', 'False Pending', [at(0, withIt), at(1, without)]],
    ['as before while one was not asked yet', 'True Programmed', [at(0, withIt), unasked(1)]],
    ['not when one was not asked and another lags behind', 'False Pending', [at(0, without), unasked(1)]],
    ['perhaps when one does not answer', 'Unknown ReplicasSilent', [at(0, withIt), silent(1)]],
    ['not when one refuses it, which is told', 'False ConfigRefused', [at(0, withIt), refusing(1)]],
    ['not when one does not answer and another lags behind', 'False Pending', [at(0, without), silent(1)]],
  ];
  for (const [sentence, told, replicas] of cases) {
    it(sentence, () => {
      const { status, reason } = relayProgrammed(withIt, replicas, [TRUE]);
      assert.equal(`${status} ${reason}`, told);
    });
  }

  it('not when one refuses it, and the message says which one and why', () => {
    const { message } = relayProgrammed(withIt, [at(0, withIt), refusing(1)], [TRUE]);
    assert.equal(message, 'Replica 1 goes on by an earlier config. It is too old.');
  });

  it('not when nobody has been asked yet and nothing is known', () => {
    assert.equal(relayProgrammed(withIt, [unasked(0)], undefined).reason, 'Pending');
  });
});
