import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DomainDocument } from '../../relay/config/documents.ts';
import { departedDomains } from './departed.ts';

const NOW = '2026-03-01T12:00:00Z';
const HOUR_MS = 3_600_000;
const entry = (domain: string, more: Partial<DomainDocument> = {}): DomainDocument => ({
  name: `default/${domain}`,
  domain,
  dkim: { sign: true, keys: [{ selector: 'k1', algorithm: 'Ed25519', privateKey: 'pem' }] },
  ...more,
});
const shard = (...domains: readonly DomainDocument[]): ReadonlyMap<string, string> =>
  new Map([['domains-00.json', JSON.stringify({ domains })]]);
const LEAVING = entry('left.test', { departed: '2026-03-01T11:00:00Z' });

describe('the keys of a domain that left', () => {
  for (const [sentence, before, inForce, isEmpty, expected] of [
    ['stay, and say since when', [entry('left.test')], [], false, [entry('left.test', { departed: NOW })]],
    ['do not concern one that is in force', [entry('here.test')], [entry('here.test')], false, []],
    ['are in force again when it comes back', [LEAVING], [entry('left.test')], false, []],
    ['are none where it was not signed', [entry('left.test', { dkim: { sign: false, keys: [] } })], [], false, []],
    [
      'stay though nothing is queued, until the replicas go by its departure: mail may still be coming in',
      [entry('left.test')],
      [],
      true,
      [entry('left.test', { departed: NOW })],
    ],
    ['stay while a queue is not empty, or is not known to be', [LEAVING], [], false, [LEAVING]],
    ['go once every queue is empty', [LEAVING], [], true, []],
    [
      'go when all that was queued must be delivered or returned, whatever came after',
      [entry('left.test', { departed: '2026-02-24T12:00:00Z' })],
      [],
      false,
      [],
    ],
  ] as const) {
    it(sentence, () => {
      const facts = {
        before: shard(...before),
        next: shard(...inForce),
        inForce,
        isEmpty,
        longestMs: 120 * HOUR_MS,
      };
      assert.deepEqual(departedDomains(facts, Date.parse(NOW)), expected);
    });
  }
});
