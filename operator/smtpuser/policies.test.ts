import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MailDomainSpec } from '../../crds/maildomain.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import { worldOf } from '../../test/harness/domain-world.ts';
import { domain, relay, user } from '../../test/harness/manifests.ts';
import { judgeUser } from './policies.ts';

/** The relay is the platform team's, the domain the brand team's, the user the shop's. */
const MAIL = { namespace: 'mail', name: 'outbound' };
const outbound = relay('outbound', { allowedNamespaces: { from: 'All' } }, { namespace: 'mail' });
const brand = (spec: Partial<MailDomainSpec> = {}) =>
  domain('brand', { relayRefs: [MAIL], ...spec }, { namespace: 'brand' });
type Case = readonly [
  sentence: string,
  domainSpec: Partial<MailDomainSpec>,
  relays: readonly SmtpRelay[],
  labels: Readonly<Record<string, string>>,
  expected: string,
];

const app = user('app', { relayRef: MAIL }, { namespace: 'shop' });

describe('an SmtpUser who sends as a domain of another namespace', () => {
  const cases: readonly Case[] = [
    ['is refused where the domain is lent to nobody else', {}, [outbound], {}, 'SenderNotAllowed'],
    ['is granted it where the domain is lent to all', { allowedSenders: { from: 'All' } }, [outbound], {}, 'Accepted'],
    [
      'is granted it where the domain is lent to namespaces with these labels',
      { allowedSenders: { from: 'Selector', selector: { matchLabels: { brand: 'yes' } } } },
      [outbound],
      { brand: 'yes' },
      'Accepted',
    ],
    [
      'is refused once its namespace has lost the label',
      { allowedSenders: { from: 'Selector', selector: { matchLabels: { brand: 'yes' } } } },
      [outbound],
      {},
      'SenderNotAllowed',
    ],
    [
      'is refused where the domain is sent by another relay of that name only',
      { allowedSenders: { from: 'All' }, relayRefs: [{ name: 'outbound' }] },
      [outbound, relay('outbound', {}, { namespace: 'brand' })],
      {},
      'SenderNotAllowed',
    ],
    [
      'is refused by a relay that does not allow its namespace',
      { allowedSenders: { from: 'All' }, relayRefs: [MAIL] },
      [relay('outbound', {}, { namespace: 'mail' })],
      {},
      'RelayNotAllowed',
    ],
  ];
  for (const [sentence, domainSpec, relays, labels, expected] of cases) {
    it(sentence, () => {
      const world = worldOf([brand(domainSpec)], relays, { shop: labels });
      assert.equal(judgeUser(app, world).reason, expected);
    });
  }

  it('does not learn whose domain it is', () => {
    const { message } = judgeUser(app, worldOf([brand()], [outbound]));
    assert.equal(message.includes('brand'), false, message);
    assert.equal(message, judgeUser(app, worldOf([], [outbound])).message, 'as if there were no such domain');
  });
});
