import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import type { Envelope } from '../spool/envelope.ts';
import type { Accepted, Lane, QueuedDelivery } from '../spool/spool.ts';
import type { Ended } from './delivery.ts';
import { senderOf } from './destination-queue.ts';
import { Message } from './message.ts';
import { SCHEDULER_LIMITS, Scheduler, type SchedulerLimits } from './scheduler.ts';

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
  /** Times the spool was asked for lanes. */
  asked = 0;

  constructor(limits: Partial<SchedulerLimits> = {}) {
    this.scheduler = new Scheduler(
      {
        spool: {
          lanes: async (limit) => this.#lanes().slice(0, limit),
          due: async (lane, nowMs, n) =>
            this.#inOrder()
              .filter(({ delivery, dueMs }) => dueMs <= nowMs && sameLane(delivery, lane))
              .slice(0, n)
              .map(({ delivery }) => delivery),
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
        deliver: ({ delivery }) => {
          this.begun.push(delivery);
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

  #parked(id: number): void {
    const delivery = this.#new.get(id);
    assert(delivery);
    this.index.set(id, { delivery, dueMs: this.nowMs });
  }

  /** Ends attempts, oldest first, as delivered unless said otherwise. */
  end({ id }: QueuedDelivery, ended: Ended = {}): void {
    const resolve = this.#ends.get(id);
    assert(resolve, 'this delivery is not being tried');
    this.#ends.delete(id);
    if (ended !== 'held' && ended.dueMs === undefined) this.index.delete(id);
    resolve(ended);
  }

  async begunAre(count: number): Promise<void> {
    const signal = AbortSignal.timeout(5_000);
    while (this.begun.length < count) await once(this.#changed, 'begun', { signal });
    assert.equal(this.begun.length, count);
  }

  of(destination: string): number {
    return this.begun.filter((delivery) => delivery.destination === destination).length;
  }

  [Symbol.dispose](): void {
    void this.scheduler.stop();
  }

  #inOrder() {
    return [...this.index.values()].toSorted((a, b) => a.dueMs - b.dueMs || a.delivery.id - b.delivery.id);
  }

  #lanes(): readonly Lane[] {
    this.asked += 1;
    const lanes = new Map<string, Lane>();
    for (const { delivery, dueMs } of this.#inOrder()) {
      const sender = senderOf(delivery.envelope);
      const key = `${delivery.destination} ${sender}`;
      if (!lanes.has(key)) lanes.set(key, { destination: delivery.destination, sender, dueMs });
    }
    return [...lanes.values()];
  }
}

const sameLane = ({ destination, envelope }: QueuedDelivery, lane: Pick<Lane, 'destination' | 'sender'>): boolean =>
  destination === lane.destination && senderOf(envelope) === lane.sender;

test('a destination has no more attempts than its connections', async () => {
  using stage = new Stage({ perDestination: 3 });
  for (let i = 0; i < 10; i += 1) stage.add('a.test');
  await stage.begunAre(3);
  for (const delivery of [...stage.begun]) stage.end(delivery);
  await stage.begunAre(6);
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
  using stage = new Stage({ perDestination: 2, destinationDeliveries: 10 });
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
  using stage = new Stage({ perDestination: 2, attempts: 2, destinationDeliveries: 5, deliveries: 5 });
  for (let i = 0; i < 20; i += 1) stage.store('hangs.test', `user${i}`);
  stage.store('quick.test', 'app', 999);
  await stage.scheduler.sweep();
  await stage.begunAre(3);
  assert.equal(stage.of('quick.test'), 1);
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
