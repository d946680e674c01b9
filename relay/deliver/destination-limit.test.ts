import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DestinationSettings } from '../config/documents.ts';
import { DestinationLimit } from './destination-limit.ts';

const settings = (more: Partial<DestinationSettings>): DestinationSettings => ({
  name: 'big',
  domains: [],
  mx: [],
  ...more,
});

/** Messages begun over so many ms, where somebody asks each ms. */
function begunIn(limit: DestinationLimit, clock: { nowMs: number }, ms: number): number {
  let begun = 0;
  for (const endMs = clock.nowMs + ms; clock.nowMs < endMs; clock.nowMs += 1) {
    for (let lease = limit.enter(); lease; lease = limit.enter()) {
      begun += 1;
      lease.sent();
      lease.leave();
    }
  }
  return begun;
}

describe('a limit', () => {
  for (const [sentence, most, replicas, share] of [
    ['of connections is shared out', 10, 3, 3],
    ['of fewer connections than replicas leaves one to each', 2, 3, 1],
    ['of a relay that is to have no replica is that of the one that drains', 4, 0, 4],
  ] as const) {
    it(sentence, () => {
      const limit = new DestinationLimit(settings({ maxConnections: most }), replicas, () => 0);
      const leases = Array.from({ length: share }, () => limit.enter() ?? assert.fail());
      assert.equal(limit.enter(), undefined);
      leases[0]?.leave();
      leases[0]?.leave();
      assert.ok(limit.enter());
      assert.equal(limit.enter(), undefined, 'a lease is given back once');
    });
  }

  for (const [perMinute, replicas, expected] of [
    [60, 1, 60],
    [60, 3, 20],
    [1, 1, 1],
    [6_000, 1, 6_000],
    [120_000, 2, 60_000],
  ] as const) {
    it(`of ${perMinute} messages by the minute lets one of ${replicas} replicas begin ${expected}, evenly`, () => {
      const clock = { nowMs: 1_000_000 };
      const limit = new DestinationLimit(settings({ messagesPerMinute: perMinute }), replicas, () => clock.nowMs);
      for (let minute = 0; minute < 3; minute++) assert.equal(begunIn(limit, clock, 60_000), expected);
      clock.nowMs += 3_600_000;
      const burst = begunIn(limit, clock, 1);
      assert.ok(burst <= Math.max(1, expected / 500), `${burst} at once after an hour of rest`);
    });
  }

  it('of messages counts each of a connection, and none that was not begun', () => {
    const clock = { nowMs: 0 };
    const limit = new DestinationLimit(settings({ messagesPerMinute: 60 }), 1, () => clock.nowMs);
    limit.enter()?.leave();
    const lease = limit.enter();
    assert.ok(lease, 'nothing was sent');
    lease.sent();
    lease.sent();
    lease.sent();
    lease.leave();
    clock.nowMs = 2_999;
    assert.equal(limit.hasRoom, false);
    clock.nowMs = 3_000;
    assert.equal(limit.hasRoom, true);
  });

  it('tells as many who wait as there is room for', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const limit = new DestinationLimit(settings({ maxConnections: 2 }), 1, () => 0);
    const leases = [limit.enter(), limit.enter()];
    const told: number[] = [];
    for (let waiter = 0; waiter < 5; waiter++) limit.wait(() => told.push(waiter));
    leases[0]?.leave();
    assert.deepEqual(told, [0]);
    // The one who was told has no use for it.
    t.mock.timers.tick(1_000);
    assert.deepEqual(told, [0, 1]);
    limit.configure(settings({ maxConnections: 4 }), 1);
    assert.deepEqual(told, [0, 1, 2, 3, 4]);
  });

  it('that is no more lets all go on', () => {
    const limit = new DestinationLimit(settings({ maxConnections: 1, messagesPerMinute: 1 }), 1, () => 0);
    limit.enter();
    const told: number[] = [];
    for (let waiter = 0; waiter < 5; waiter++) limit.wait(() => told.push(waiter));
    limit.close();
    assert.equal(told.length, 5);
  });
});
