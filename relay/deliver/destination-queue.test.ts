import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QueuedDelivery } from '../spool/spool.ts';
import { DestinationQueue } from './destination-queue.ts';

const delivery = (id: number, user: string): QueuedDelivery => ({
  id,
  queueId: `q${id}`,
  destination: 'dest.test',
  attempts: 0,
  recipients: [],
  envelope: {
    version: 1,
    mailFrom: '',
    smtputf8: false,
    bodyType: '7BIT',
    arrivedMs: 0,
    sizeBytes: 0,
    bodyHash: '',
    headerBytes: 0,
    user,
  },
});

test('senders take turns, and each keeps its order', () => {
  const queue = new DestinationQueue<{ readonly delivery: QueuedDelivery }>('dest.test', 20);
  for (const [id, user] of [
    [1, 'bulk'],
    [2, 'bulk'],
    [3, 'bulk'],
    [4, 'app'],
    [5, 'ops'],
    [6, 'app'],
  ] as const) {
    queue.push({ delivery: delivery(id, user) });
  }
  assert.equal(queue.waiting, 6);
  assert.deepEqual(
    Array.from({ length: 6 }, () => queue.shift()?.delivery.id),
    [1, 4, 5, 2, 6, 3],
  );
  assert.equal(queue.shift(), undefined);
  assert.equal(queue.waiting, 0);
});
