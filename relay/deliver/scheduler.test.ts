import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Envelope } from '../spool/envelope.ts';
import {
  type Accepted,
  type DueDestination,
  type QueuedDelivery,
  SpoolUnavailable,
  type Taken,
  type Wish,
} from '../spool/spool.ts';
import type { Ended } from './delivery.ts';
import { DestinationLimit, type Lease } from './destination-limit.ts';
import { senderOf } from './destination-queue.ts';
import { NoRoom } from './leases.ts';
import { Message } from './message.ts';
import { Scheduler } from './scheduler.ts';
import { SCHEDULER_LIMITS, type SchedulerLimits } from './scheduler-limits.ts';

const ENVELOPE: Envelope = {
  version: 1,
  mailFrom: 'app@example.test',
  smtputf8: false,
  bodyType: '7BIT',
  arrivedMs: 0,
  sizeBytes: 0,
  bodyHash: '',
  headerBytes: 0,
};

/** A scheduler over an index in memory; attempts end when the test says so. */
class Stage implements Disposable {
  readonly scheduler: Scheduler;
  /** What was begun, in order. */
  readonly begun: QueuedDelivery[] = [];
  readonly index = new Map<number, { delivery: QueuedDelivery; dueMs: number }>();
  readonly #ends = new Map<number, (ended: Ended) => void>();
  readonly #changed = new EventEmitter();
  #id = 0;
  nowMs = 1_000;
  suspended = false;
  /** So often the spool cannot be written. */
  unwritable = 0;
  readonly #inHand = new Set<number>();
  /** Deliveries that were taken from the spool and not over. */
  mostInHand = 0;
  readonly limits = new Map<string, DestinationLimit>();
  readonly leases = new Map<number, Lease>();
  /** Times the spool was asked for destinations. */
  asked = 0;

  constructor(limits: Partial<SchedulerLimits> = {}) {
    this.scheduler = new Scheduler(
      {
        spool: {
          destinations: async (nowMs, limit, after) => this.#destinations(nowMs, limit, after),
          take: async (destination, wish) => this.#take(destination, wish),
          giveBack: async (ids) => {
            for (const id of ids) this.#inHand.delete(id);
          },
          park: async (ids) => {
            for (const id of ids) this.#parked(id);
          },
        },
        observer: { log: (_level, message) => assert.fail(message) },
        suspended: () => this.suspended,
        followClock: async () => undefined,
        now: () => this.nowMs,
        message: (of) =>
          new Message(of, {
            spool: { read: async () => assert.fail('nothing is sent here') },
            signer: { sign: async () => assert.fail('nothing is signed here') },
            signed: () => undefined,
          }),
        limitOf: (destination) => this.limits.get(destination),
        deliver: ({ delivery }, lease) => {
          this.begun.push(delivery);
          if (lease) this.leases.set(delivery.id, lease);
          const { promise, resolve } = Promise.withResolvers<Ended>();
          this.#ends.set(delivery.id, resolve);
          this.#changed.emit('begun');
          return promise;
        },
      },
      { ...SCHEDULER_LIMITS, ...limits },
    );
  }

  #new = new Map<number, QueuedDelivery>();

  make(destination: string, user = 'app'): QueuedDelivery {
    this.#id += 1;
    const delivery = {
      id: this.#id,
      queueId: `q${this.#id}`,
      destination,
      envelope: { ...ENVELOPE, user },
      attempts: 0,
      recipients: [],
    };
    this.#new.set(delivery.id, delivery);
    return delivery;
  }

  /** New mail, as receive hands it over. */
  add(destination: string, user?: string): QueuedDelivery {
    const delivery = this.make(destination, user);
    const accepted: Accepted = {
      queueId: delivery.queueId,
      content: { signature: undefined, data: Buffer.alloc(10) },
      deliveries: [delivery],
    };
    this.scheduler.add(accepted);
    return delivery;
  }

  /** Mail that waits in the spool. */
  store(destination: string, user?: string, dueMs = 0): QueuedDelivery {
    const delivery = this.make(destination, user);
    this.index.set(delivery.id, { delivery, dueMs });
    return delivery;
  }

  /** Only what is in no index yet. */
  #parked(id: number): void {
    if (this.index.has(id)) return;
    if (this.unwritable > 0) {
      this.unwritable -= 1;
      throw new SpoolUnavailable('no room');
    }
    const delivery = this.#new.get(id);
    assert(delivery);
    this.index.set(id, { delivery, dueMs: this.nowMs });
  }

  /** Ends attempts, oldest first, as delivered unless said otherwise. */
  end({ id }: QueuedDelivery, ended: Ended = {}): void {
    const resolve = this.#ends.get(id);
    assert(resolve, 'this delivery is not being tried');
    this.#ends.delete(id);
    const isOver = ended !== 'held' && !(ended instanceof NoRoom);
    if (isOver) this.#inHand.delete(id);
    if (isOver && ended.dueMs === undefined) this.index.delete(id);
    this.leases.get(id)?.sent();
    this.leases.get(id)?.leave();
    this.leases.delete(id);
    resolve(ended);
  }

  async begunAre(count: number): Promise<void> {
    const signal = AbortSignal.timeout(5_000);
    while (this.begun.length < count) await once(this.#changed, 'begun', { signal });
    assert.equal(this.begun.length, count);
  }

  async begunAtLeast(count: number): Promise<void> {
    const signal = AbortSignal.timeout(5_000);
    while (this.begun.length < count) await once(this.#changed, 'begun', { signal });
  }

  of(destination: string): number {
    return this.begun.filter((delivery) => delivery.destination === destination).length;
  }

  [Symbol.dispose](): void {
    void this.scheduler.stop();
  }

  #inOrder() {
    return [...this.index.values()]
      .filter(({ delivery }) => !this.#inHand.has(delivery.id))
      .toSorted((a, b) => a.dueMs - b.dueMs || a.delivery.id - b.delivery.id);
  }

  #destinations(nowMs: number, limit: number, after?: DueDestination) {
    this.asked += 1;
    const first = new Map<string, number>();
    for (const { delivery, dueMs } of this.#inOrder()) {
      if (!first.has(delivery.destination)) first.set(delivery.destination, dueMs);
    }
    const all = [...first].map(([destination, dueMs]) => ({ destination, dueMs }));
    const later = all.filter(({ dueMs }) => dueMs > nowMs).map(({ dueMs }) => dueMs);
    const isAfter = ({ destination, dueMs }: DueDestination) =>
      !after || dueMs > after.dueMs || (dueMs === after.dueMs && destination > after.destination);
    const due = all
      .filter(({ dueMs }) => dueMs <= nowMs)
      .toSorted((a, b) => a.dueMs - b.dueMs || (a.destination < b.destination ? -1 : 1))
      .filter(isAfter)
      .slice(0, limit);
    return { due, ...(later.length > 0 && { nextMs: Math.min(...later) }) };
  }

  /** Of each sender in turn, from the one after the last. */
  #take(destination: string, { nowMs, limit, afterSender = '' }: Wish): Taken {
    const due = this.#inOrder().flatMap(({ delivery, dueMs }) =>
      dueMs <= nowMs && delivery.destination === destination ? [delivery] : [],
    );
    const bySender = Map.groupBy(due, ({ envelope }) => senderOf(envelope));
    const senders = [...bySender.keys()].toSorted();
    const turns = [...senders.filter((name) => name > afterSender), ...senders.filter((name) => name <= afterSender)];
    const deliveries: QueuedDelivery[] = [];
    let lastSender: string | undefined;
    while (deliveries.length < Math.min(limit, due.length)) {
      for (const sender of turns) {
        const one = deliveries.length < limit ? bySender.get(sender)?.shift() : undefined;
        if (!one) continue;
        deliveries.push(one);
        lastSender = sender;
      }
    }
    for (const { id } of deliveries) this.#inHand.add(id);
    this.mostInHand = Math.max(this.mostInHand, this.#inHand.size);
    const more = due.length > deliveries.length;
    const [next] = this.#inOrder().filter(
      ({ delivery, dueMs }) => dueMs > nowMs && delivery.destination === destination,
    );
    return { deliveries, lastSender, more, ...(next && !more && { nextMs: next.dueMs }) };
  }
}

test('a destination has no more attempts than its connections', async () => {
  using stage = new Stage({ perDestination: 3 });
  for (let i = 0; i < 10; i += 1) stage.add('a.test');
  await stage.begunAre(3);
  for (const delivery of [...stage.begun]) stage.end(delivery);
  await stage.begunAre(6);
});

test('a destination of which no host answers is tried by one attempt at a time, and by more as it answers', async () => {
  using stage = new Stage({ perDestination: 4 });
  for (let i = 0; i < 100; i += 1) stage.add('a.test');
  await stage.begunAre(4);
  const endEach = async (begun: readonly QueuedDelivery[], ended: Ended, expected: number) => {
    for (const delivery of begun) stage.end(delivery, ended);
    await stage.begunAre(expected);
  };
  const failed = { dueMs: 1_000_000, hostFailed: true } as const;
  await endEach(stage.begun.slice(0, 4), failed, 5);
  await endEach(stage.begun.slice(4), failed, 6);
  await endEach(stage.begun.slice(5), {}, 8);
  await endEach(stage.begun.slice(6), {}, 12);
  await endEach(stage.begun.slice(8), {}, 16);
});

test('when destinations that hang hold all attempts, another one still begins', async () => {
  using stage = new Stage({ perDestination: 3, attempts: 6 });
  for (let i = 0; i < 5; i += 1) for (const to of ['hangs.test', 'too.test']) stage.add(to);
  await stage.begunAre(6);
  stage.add('quick.test');
  await stage.begunAre(7);
  assert.equal(stage.of('quick.test'), 1);
});

test('a delivery that is being tried is not taken again from the spool', async () => {
  using stage = new Stage();
  const first = stage.store('a.test');
  await stage.scheduler.sweep();
  await stage.begunAre(1);
  stage.store('a.test');
  await stage.scheduler.sweep();
  await stage.begunAre(2);
  assert.equal(stage.begun.filter(({ id }) => id === first.id).length, 1);
});

test('a delivery that is held is not tried again', async () => {
  using stage = new Stage();
  const delivery = stage.store('a.test');
  await stage.scheduler.sweep();
  stage.end(delivery, 'held');
  await stage.scheduler.sweep();
  await stage.begunAre(1);
});

test('a sender with a long lane leaves room for the lane of another', async () => {
  using stage = new Stage({ perDestination: 2, destinationTaken: 10 });
  for (let i = 0; i < 100; i += 1) stage.store('a.test', 'bulk');
  stage.store('a.test', 'app', 500);
  await stage.scheduler.sweep();
  await stage.begunAre(2);
  assert.deepEqual(new Set(stage.begun.map(({ envelope }) => envelope.user)), new Set(['app', 'bulk']));
});

test('mail that overflowed into the spool is not overtaken for ever by new mail', async () => {
  using stage = new Stage({ perDestination: 1, destinationDeliveries: 2 });
  for (let i = 0; i < 3; i += 1) stage.add('a.test', 'bulk');
  const overflowed = stage.add('a.test', 'app');
  for (let i = 1; i <= 10; i += 1) {
    await stage.begunAre(i);
    const current = stage.begun.at(-1);
    if (current?.id === overflowed.id) return;
    assert(current);
    stage.add('a.test', 'bulk');
    stage.end(current);
  }
  assert.fail('the overflowed message was never begun');
});

test('a destination whose queue is full does not hide another one in the spool', async () => {
  using stage = new Stage({ perDestination: 2, attempts: 2, destinationTaken: 5, taken: 5 });
  for (let i = 0; i < 20; i += 1) stage.store('hangs.test', `user${i}`);
  stage.store('quick.test', 'app', 999);
  await stage.scheduler.sweep();
  await stage.begunAre(3);
  assert.equal(stage.of('quick.test'), 1);
});

test('more destinations than memory has room for are taken by and by, each once', async () => {
  using stage = new Stage({ taken: 150, attempts: 2 });
  for (let i = 0; i < 900; i += 1) stage.store(`d${i}.test`);
  await stage.scheduler.sweep();
  for (let ended = 0; ended < 900; ended += 1) {
    await stage.begunAtLeast(ended + 1);
    stage.end(stage.begun[ended] ?? assert.fail('nothing was begun'));
  }
  assert.equal(new Set(stage.begun.map(({ destination }) => destination)).size, 900);
  assert.ok(stage.mostInHand < 330, `${stage.mostInHand} deliveries were in memory`);
});

test('one who has mail for many destinations delays the message of another by one attempt, not by many', async () => {
  using stage = new Stage({ attempts: 1 });
  stage.add('d0.test', 'bulk');
  stage.add('busy.test', 'app');
  for (let i = 1; i < 100; i += 1) stage.add(`d${i}.test`, 'bulk');
  const single = stage.add('other.test', 'app');
  await stage.begunAre(2);
  for (let turn = 0; turn < 2; turn += 1) {
    stage.end(stage.begun[turn] ?? assert.fail('nothing was begun'));
    await stage.begunAre(turn + 3);
  }
  assert.ok(stage.begun.some(({ id }) => id === single.id));
});

test('when a sender has used up all attempts at destinations that hang, the message of another still begins', async () => {
  using stage = new Stage({ attempts: 4 });
  for (let i = 0; i < 100; i += 1) stage.add(`hangs${i}.test`, 'bulk');
  await stage.begunAre(8);
  const single = stage.add('quick.test', 'app');
  stage.add('another.test', 'app');
  await stage.begunAre(9);
  assert.equal(stage.begun.at(-1)?.id, single.id);
  stage.end(single);
  await stage.begunAre(10);
  for (let i = 0; i < 100; i += 1) stage.add(`d${i}.test`, `user${i}`);
  await stage.begunAre(11);
});

/** Ends attempts, the oldest first, until the delivery is begun; returns how many that took. */
async function endedUntilBegun(stage: Stage, wanted: QueuedDelivery): Promise<number> {
  for (let ended = 0; ; ended += 1) {
    if (stage.begun.some(({ id }) => id === wanted.id)) return ended;
    const before = stage.begun.length;
    stage.end(stage.begun[ended] ?? assert.fail('nothing is being tried'));
    await stage.begunAtLeast(before + 1);
  }
}

test('a message does not wait for the long queue of another sender to the same destination', async () => {
  using stage = new Stage({ perDestination: 2, destinationTaken: 100 });
  for (let i = 0; i < 1_000; i += 1) stage.store('a.test', 'bulk');
  await stage.scheduler.sweep();
  await stage.begunAre(2);
  const single = stage.add('a.test', 'app');
  const ended = await endedUntilBegun(stage, single);
  assert.ok(ended <= 2, `it waited for ${ended} attempts`);
});

test('new mail of many senders does not keep what waits in the spool from being taken', async () => {
  using stage = new Stage({ perDestination: 2, destinationTaken: 4 });
  const stored = Array.from({ length: 50 }, () => stage.store('a.test', 'bulk'));
  await stage.scheduler.sweep();
  for (let user = 0; user < 10; user += 1) stage.add('a.test', `user${user}`);
  for (let turn = 0; turn < 2_000; turn += 1) {
    if (stored.every(({ id }) => stage.begun.some((delivery) => delivery.id === id))) return;
    await stage.begunAtLeast(turn + 1);
    const current = stage.begun[turn] ?? assert.fail('nothing was begun');
    if (current.envelope.user !== 'bulk') stage.add('a.test', current.envelope.user);
    stage.end(current);
  }
  assert.fail('what waits in the spool was overtaken for ever');
});

test('where destinations of one sender wait to begin, the message of another to one of them is next', async () => {
  using stage = new Stage({ attempts: 1 });
  for (let i = 0; i < 100; i += 1) stage.add(`d${i}.test`, 'bulk');
  await stage.begunAre(2);
  const ended = await endedUntilBegun(stage, stage.add('d99.test', 'app'));
  assert.ok(ended <= 5, `it waited for ${ended} attempts`);
});

test('where destinations of one sender have as many attempts as there may be, the message of another is next', async () => {
  using stage = new Stage({ attempts: 40 });
  for (let i = 0; i < 20 * 10; i += 1) stage.add(`d${i % 20}.test`, 'bulk');
  await stage.begunAre(40);
  const ended = await endedUntilBegun(stage, stage.add('d19.test', 'app'));
  assert.ok(ended <= 5, `it waited for ${ended} attempts`);
});

test('a deferred delivery is begun when it is due, and the spool is not asked before', async () => {
  using stage = new Stage();
  const delivery = stage.add('a.test');
  await stage.begunAre(1);
  stage.index.set(delivery.id, { delivery, dueMs: 1_030 });
  stage.end(delivery, { dueMs: 1_030 });
  stage.nowMs = 1_030;
  await stage.begunAre(2);
  assert.equal(stage.asked, 1);
});

test('what becomes due while another delivery of its sender is being tried begins when it is due', async () => {
  using stage = new Stage();
  stage.store('a.test', 'app', 900);
  stage.store('a.test', 'app', 1_030);
  await stage.scheduler.sweep();
  await stage.begunAre(1);
  stage.nowMs = 1_030;
  await stage.begunAre(2);
});

test('after stop nothing begins', async () => {
  using stage = new Stage({ perDestination: 1 });
  const delivery = stage.add('a.test');
  stage.add('a.test');
  const stopped = stage.scheduler.stop();
  stage.end(delivery);
  await stopped;
  stage.add('b.test');
  await stage.scheduler.sweep();
  await stage.begunAre(1);
});

/** The attempts of a message that withdraw names have ended. */
const isOver = (ended: Promise<void> | undefined): Promise<boolean> =>
  Promise.race([Promise.resolve(ended).then(() => true), new Promise<false>((no) => setImmediate(() => no(false)))]);

test('what is withdrawn while it waits in memory is not begun; an attempt under way ends first', async () => {
  using stage = new Stage({ perDestination: 1 });
  const current = stage.add('a.test');
  const waiting = stage.add('a.test');
  const next = stage.add('a.test');
  const underWay = stage.scheduler.withdraw([current, waiting]);
  assert.deepEqual([...underWay.keys()], [current.queueId]);
  assert.equal(await isOver(underWay.get(current.queueId)), false);
  stage.end(current);
  assert.equal(await isOver(underWay.get(current.queueId)), true);
  await stage.begunAre(2);
  assert.deepEqual(stage.begun, [current, next]);

  // On hold it is in the spool alone; released, it is due there, and begun like any other.
  stage.index.set(waiting.id, { delivery: waiting, dueMs: 0 });
  stage.end(next);
  await stage.scheduler.sweep();
  await stage.begunAre(3);
});

test('what is withdrawn for one destination is still tried at the others', async () => {
  using stage = new Stage({ perDestination: 1 });
  const running = ['a.test', 'b.test'].map((destination) => stage.add(destination));
  const [here, there] = ['a.test', 'b.test'].map((destination) => ({ ...stage.make(destination), queueId: 'both' }));
  assert.ok(here && there);
  stage.scheduler.add({
    queueId: 'both',
    content: { signature: undefined, data: Buffer.alloc(10) },
    deliveries: [here, there],
  });
  stage.scheduler.withdraw([{ queueId: 'both', destinations: ['a.test'] }]);
  for (const delivery of running) stage.end(delivery);
  await stage.begunAre(3);
  assert.equal(stage.begun.at(-1), there);
});

test('a destination from which all is withdrawn leaves its room to what waits in the spool', async () => {
  using stage = new Stage({ perDestination: 1, destinationDeliveries: 2 });
  const running = stage.add('a.test');
  const waiting = [stage.add('a.test'), stage.add('a.test')];
  const overflowed = stage.add('a.test');
  stage.scheduler.withdraw(waiting);
  stage.end(running);
  await stage.begunAre(2);
  assert.equal(stage.begun.at(-1)?.id, overflowed.id);
});

test('while delivery is suspended nothing begins; afterwards all of it does, from memory and from the spool', async () => {
  using stage = new Stage({ destinationDeliveries: 2, perDestination: 1 });
  stage.suspended = true;
  for (let i = 0; i < 5; i += 1) stage.add('dest.test');
  stage.store('dest.test');
  await stage.scheduler.sweep();
  stage.scheduler.resume();
  assert.deepEqual([stage.begun.length, stage.asked], [0, 0], 'nor is the spool asked');
  stage.suspended = false;
  stage.scheduler.resume();
  for (let count = 1; count <= 6; count += 1) {
    await stage.begunAre(count);
    const last = stage.begun.at(-1);
    assert(last);
    stage.end(last);
  }
});

/** A message of which nothing is in memory, unless said otherwise. */
const movable = (delivery: QueuedDelivery, inMemory: readonly number[] = []) => ({
  id: 1,
  deliveries: [delivery.id],
  inMemory,
});

test('what another deals with is not tried, until it is let go', async () => {
  using stage = new Stage();
  const delivery = stage.store('a.test');
  assert.equal(stage.scheduler.reserve(movable(delivery), false), true);
  await stage.scheduler.sweep();
  await stage.begunAre(0);
  stage.scheduler.letGo([delivery.id]);
  await stage.scheduler.sweep();
  await stage.begunAre(1);
});

test('what is being tried, or is new mail on its way here, is left alone', async () => {
  using stage = new Stage({ perDestination: 1 });
  const tried = stage.add('a.test');
  await stage.begunAre(1);
  for (const take of [false, true]) {
    assert.equal(stage.scheduler.reserve(movable(tried, [tried.id]), take), false);
    const committed = stage.make('a.test');
    assert.equal(stage.scheduler.reserve(movable(committed, [committed.id]), take), false);
  }
});

test('what waits in memory is taken from there only when that is asked for, and is not tried then', async () => {
  using stage = new Stage({ perDestination: 1 });
  const [first, second, third] = [stage.add('a.test'), stage.add('a.test'), stage.add('a.test')];
  await stage.begunAre(1);
  assert.equal(stage.scheduler.reserve(movable(second, [second.id]), false), false);
  assert.equal(stage.scheduler.reserve(movable(second, [second.id]), true), true);
  stage.scheduler.gone([second.id]);
  stage.end(first);
  await stage.begunAre(2);
  assert.deepEqual(stage.begun, [first, third]);
});

test('what was taken and could not be moved is tried from memory after all', async () => {
  using stage = new Stage({ perDestination: 1 });
  const [first, second] = [stage.add('a.test'), stage.add('a.test')];
  await stage.begunAre(1);
  assert.equal(stage.scheduler.reserve(movable(second, [second.id]), true), true);
  stage.scheduler.letGo([second.id]);
  stage.end(first);
  await stage.begunAre(2);
  assert.deepEqual(stage.begun, [first, second]);
});

test('what was taken, left memory when its turn came, and could not be moved is tried from the spool', async () => {
  using stage = new Stage({ perDestination: 1 });
  const [first, second, third] = [stage.add('a.test'), stage.add('a.test'), stage.add('a.test')];
  await stage.begunAre(1);
  assert.equal(stage.scheduler.reserve(movable(second, [second.id]), true), true);
  stage.end(first);
  await stage.begunAre(2);
  stage.unwritable = 1;
  stage.scheduler.letGo([second.id]);
  stage.end(third);
  await stage.begunAre(3);
  assert.deepEqual(stage.begun, [first, third, second]);
});

test('servers that may be asked so much at a time are asked no more, by all their destinations together', async () => {
  using stage = new Stage();
  const shared = new DestinationLimit({ name: 'shared', domains: [], mx: [], maxConnections: 2 }, 1, () => 0);
  for (const destination of ['a.test', 'b.test', 'c.test']) stage.limits.set(destination, shared);
  const waiting = ['a.test', 'a.test', 'b.test', 'c.test'].map((destination) => stage.add(destination));
  const other = stage.add('other.test');
  await stage.begunAre(3);
  assert.ok(stage.begun.includes(other), 'nobody else waits for them');
  for (let over = 1; over <= waiting.length; over++) {
    const next = stage.begun.find((delivery) => delivery !== other && stage.leases.has(delivery.id));
    assert.ok(next);
    stage.end(next);
    await stage.begunAre(Math.min(5, 3 + over));
    assert.ok(stage.leases.size <= 2);
  }
});

test('a delivery that finds no room at its server goes back to where it was, and is tried when there is room', async () => {
  using stage = new Stage();
  const limit = new DestinationLimit({ name: 'full', domains: [], mx: [], maxConnections: 1 }, 1, () => 0);
  const elsewhere = limit.enter();
  assert.ok(elsewhere);
  const [first, second] = [stage.add('a.test'), stage.add('a.test')];
  await stage.begunAre(2);
  // Only the attempt finds out which server it is.
  stage.limits.set('a.test', limit);
  for (const delivery of [second, first]) stage.end(delivery, new NoRoom(limit));
  await turn();
  assert.equal(limit.waiting, 2);
  await stage.begunAre(2);
  elsewhere.leave();
  await stage.begunAre(3);
  assert.equal(stage.begun[2], first, 'the one that came first');
  stage.end(first);
  await stage.begunAre(4);
  assert.equal(stage.begun[3], second);
  stage.end(second);
  await turn();
  assert.equal(limit.waiting, 0);
});

test('a delivery that is put on hold while it finds no room is let go', async () => {
  using stage = new Stage();
  const limit = new DestinationLimit({ name: 'full', domains: [], mx: [], maxConnections: 1 }, 1, () => 0);
  const elsewhere = limit.enter();
  assert.ok(elsewhere);
  const delivery = stage.add('a.test');
  await stage.begunAre(1);
  const underWay = stage.scheduler.withdraw([{ queueId: delivery.queueId }]);
  stage.limits.set('a.test', limit);
  stage.end(delivery, new NoRoom(limit));
  await underWay.get(delivery.queueId);
  elsewhere.leave();
  await turn();
  await stage.begunAre(1);
  assert.equal(limit.waiting, 0);
});

test('mail for ever so many domains of servers that are slow leaves room in memory for that of others', async () => {
  using stage = new Stage({ taken: 20, destinationTaken: 10 });
  const slow = new DestinationLimit({ name: 'slow', domains: [], mx: [], maxConnections: 1 }, 1, () => 0);
  const all = Array.from({ length: 200 }, (_, index) => {
    stage.limits.set(`${index}.slow.test`, slow);
    return stage.store(`${index}.slow.test`);
  });
  const other = stage.store('zz.test');
  await stage.scheduler.sweep();
  await stage.begunAre(2);
  assert.ok(stage.begun.includes(other));
  assert.ok(slow.waiting <= 40, `${slow.waiting} wait in memory`);
  stage.end(other);
  for (let over = 0; over < all.length; over++) {
    await stage.begunAtLeast(over + 2);
    const next = stage.begun.find(({ id }) => stage.leases.has(id));
    assert.ok(next);
    stage.end(next);
  }
  assert.deepEqual(new Set(stage.begun.map(({ id }) => id)).size, 201, 'all come to their turn');
});
