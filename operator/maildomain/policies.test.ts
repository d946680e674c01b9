import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MailDomain } from '../../crds/maildomain.ts';
import { domain } from '../../test/harness/manifests.ts';
import { domainHolders, judgeDomain } from './policies.ts';

const HELD: MailDomain['status'] = {
  conditions: [
    {
      type: 'Accepted',
      status: 'True',
      reason: 'Accepted',
      message: '',
      observedGeneration: 1,
      lastTransitionTime: '2026-01-01T00:00:00Z',
    },
  ],
};
const OLD = { creationTimestamp: '2026-01-01T00:00:00Z' };
const YOUNG = { creationTimestamp: '2026-02-01T00:00:00Z' };

/** Reasons of the Accepted conditions, by name. */
function judged(...domains: readonly MailDomain[]): Record<string, string> {
  const relayExists = ({ name }: { name: string }): boolean => name === 'outbound';
  const world = { relayExists, holders: domainHolders(domains, relayExists) };
  return Object.fromEntries(domains.map((each) => [each.metadata.name, judgeDomain(each, world).reason]));
}

describe('a MailDomain', () => {
  for (const [sentence, domains, expected] of [
    ['is accepted when its relay exists', [domain('a')], { a: 'Accepted' }],
    [
      'is refused when a relay does not exist',
      [domain('a', { relayRefs: [{ name: 'outbound' }, { name: 'lost' }] })],
      { a: 'RelayNotFound' },
    ],
    [
      'yields to the older of two newcomers',
      [domain('a', {}, YOUNG), domain('b', {}, OLD)],
      { a: 'DomainHeld', b: 'Accepted' },
    ],
    [
      'yields to the first by name of two newcomers of the same age',
      [domain('b'), domain('a')],
      { a: 'Accepted', b: 'DomainHeld' },
    ],
    [
      'keeps its domain against an older one that appears later',
      [domain('a', {}, YOUNG, HELD), domain('b', {}, OLD)],
      { a: 'Accepted', b: 'DomainHeld' },
    ],
    [
      'keeps its domain across namespaces',
      [domain('a', {}, { ...YOUNG, namespace: 'one' }, HELD), domain('b', {}, { ...OLD, namespace: 'another' })],
      { a: 'Accepted', b: 'DomainHeld' },
    ],
    [
      'holds its domain however it is written',
      [domain('a', { domain: 'EXAMPLE.test' }), domain('b')],
      { a: 'Accepted', b: 'DomainHeld' },
    ],
    [
      'does not hold its domain while its relay does not exist',
      [domain('a', { relayRefs: [{ name: 'lost' }] }, OLD, HELD), domain('b', {}, YOUNG)],
      { a: 'RelayNotFound', b: 'Accepted' },
    ],
    [
      'is indifferent to other domains',
      [domain('a'), domain('b', { domain: 'other.test' })],
      { a: 'Accepted', b: 'Accepted' },
    ],
  ] as const) {
    it(sentence, () => assert.deepEqual(judged(...domains), expected));
  }

  it('is told which relay it lacks, and who holds its domain', () => {
    const relayExists = (): boolean => false;
    const lost = judgeDomain(domain('a', { relayRefs: [{ name: 'lost' }] }), { relayExists, holders: new Map() });
    assert.match(lost.message, /SmtpRelay lost in namespace default/);
    const held = judgeDomain(domain('a'), {
      relayExists: () => true,
      holders: new Map([['example.test', domain('b')]]),
    });
    assert.match(held.message, /example\.test is held by MailDomain default\/b/);
  });
});
