import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Recipient } from '../spool/envelope.ts';
import type { QueuedDelivery } from '../spool/spool.ts';
import { deferAll, settle } from './outcome.ts';

const recipient = (address: string): Recipient => ({ address, state: 'queued' });
const NOW = 1_000_000;
const RETRY = { retry: { scheduleMs: [60_000], expireAfterMs: 3_600_000 }, nowMs: NOW, random: 0.5 };

const delivery = (...recipients: Recipient[]): QueuedDelivery => ({
  id: 1,
  queueId: 'Q1',
  destination: 'example.org',
  envelope: {
    version: 1,
    mailFrom: 'a@example.test',
    smtputf8: false,
    bodyType: '7BIT',
    arrivedMs: NOW,
    sizeBytes: 1,
    bodyHash: '',
    headerBytes: 1,
  },
  attempts: 0,
  recipients,
});

test('a deferred delivery is due when the schedule says, as its event tells', () => {
  const one = delivery(recipient('b@example.org'));
  const settled = settle(one, deferAll(one.recipients, '4.7.1', 'come back later'), RETRY);
  const event = settled?.events[0];
  assert.equal(settled?.outcome.dueMs, NOW + 60_000);
  assert.equal(event && 'nextMs' in event ? event.nextMs : undefined, NOW + 60_000);
});

test('recipients that were not reached any more are due at once, when no other must wait', () => {
  const one = delivery(recipient('b@example.org'), recipient('c@example.org'));
  const [first] = one.recipients;
  assert.ok(first);
  const delivered = new Map([[first, { state: 'delivered', reply: { code: 250, text: 'taken' } } as const]]);
  assert.equal(settle(one, delivered, RETRY)?.outcome.dueMs, NOW);
  assert.equal(settle(one, deferAll([first], '4.7.1', 'later'), RETRY)?.outcome.dueMs, NOW + 60_000);
});
