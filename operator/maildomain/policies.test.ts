import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MailDomain } from '../../crds/maildomain.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay } from '../../test/harness/manifests.ts';
import { judgeDomain } from './policies.ts';

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
  const world = worldOf(domains);
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
    const lost = domain('a', { relayRefs: [{ name: 'lost' }] });
    assert.match(judgeDomain(lost, worldOf([lost])).message, /SmtpRelay lost in namespace default/);
    const held = judgeDomain(domain('a'), worldOf([domain('a'), domain('b', {}, {}, HELD)]));
    assert.match(held.message, /example\.test is held by MailDomain default\/b/);
  });
});

describe('a MailDomain of another namespace than its relay', () => {
  const shop = domain('shop', { relayRefs: [{ namespace: 'mail', name: 'outbound' }] }, { namespace: 'shop' });
  const team = (...values: string[]) => ({
    from: 'Selector' as const,
    selector: { matchExpressions: [{ key: 'team', operator: 'In', values }] },
  });
  for (const [sentence, allowedNamespaces, labels, expected] of [
    ['is refused by a relay that allows its own namespace', { from: 'Same' }, {}, 'RelayNotAllowed'],
    ['is taken by a relay that allows all', { from: 'All' }, {}, 'Accepted'],
    ['is taken by a relay that allows namespaces with its labels', team('web', 'shop'), { team: 'shop' }, 'Accepted'],
    ['is refused where the labels are others', team('web'), { team: 'shop' }, 'RelayNotAllowed'],
    ['is refused where the namespace has no labels', team('web'), {}, 'RelayNotAllowed'],
    [
      'is taken where its namespace is named by the label that each namespace has',
      { from: 'Selector', selector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } },
      {},
      'Accepted',
    ],
  ] as const) {
    it(sentence, () => {
      const outbound = relay('outbound', { allowedNamespaces: allowedNamespaces }, { namespace: 'mail' });
      assert.equal(judgeDomain(shop, worldOf([shop], [outbound], { shop: labels })).reason, expected);
    });
  }

  it('takes no domain from anyone while the relay does not allow it', () => {
    const mine = domain('mine', {}, { ...YOUNG, namespace: 'mail' });
    const theirs = domain('shop', shop.spec, { ...OLD, namespace: 'shop' }, HELD);
    const world = worldOf([mine, theirs], [relay('outbound', {}, { namespace: 'mail' })]);
    assert.equal(judgeDomain(mine, world).reason, 'Accepted');
    assert.equal(judgeDomain(theirs, world).reason, 'RelayNotAllowed');
  });

  it('is told which relay would have to allow it', () => {
    const { message } = judgeDomain(shop, worldOf([shop], [relay('outbound', {}, { namespace: 'mail' })]));
    assert.match(message, /SmtpRelay mail\/outbound takes no MailDomains of namespace shop.*allowedNamespaces/);
  });
});
