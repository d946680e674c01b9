/**
 * What is tried when. Each destination has its own queue and its own share of connections, so one that is slow holds up
 * nobody else; within a destination senders take turns, so one that sends much does not hold up the others.
 *
 * New mail goes from memory, within bounds. What is beyond them, and all that was deferred, waits in the spool and is
 * taken from there when it is due and there is room. Between due times nothing is asked: a timer stands at the earliest.
 */
import type { Observer } from '../observe/events.ts';
import type { Envelope } from '../spool/envelope.ts';
import type { Accepted, Content, Lane, QueuedDelivery, Spool } from '../spool/spool.ts';
import type { Ended } from './delivery.ts';
import { DestinationQueue, laneKey, senderOf } from './destination-queue.ts';
import type { Message } from './message.ts';

export interface SchedulerLimits {
  /** Attempts at once to one destination, and so connections. */
  readonly perDestination: number;
  /** Attempts at once in all. */
  readonly attempts: number;
  /** Deliveries in memory. */
  readonly deliveries: number;
  /** Deliveries of one destination in memory. */
  readonly destinationDeliveries: number;
  /** Bytes of new mail in memory. */
  readonly bytes: number;
}

export const SCHEDULER_LIMITS: SchedulerLimits = {
  perDestination: 20,
  attempts: 500,
  deliveries: 10_000,
  destinationDeliveries: 2_000,
  bytes: 128 * 1024 * 1024,
};

export interface SchedulerContext {
  readonly spool: Pick<Spool, 'lanes' | 'due' | 'park'>;
  readonly observer: Observer;
  readonly now: () => number;
  readonly message: (of: { queueId: string; envelope: Envelope; content?: Content }) => Message;
  /** Never rejects. */
  readonly deliver: (delivery: QueuedDelivery, message: Message) => Promise<Ended>;
}

interface InHand {
  readonly message: Message;
  /** Of content kept for it. */
  readonly bytes: number;
  deliveries: number;
}

/** Lanes asked of the spool at once. */
const LANES = 200;
/** While a lane's head is in hand the lane cannot tell when its next delivery is due: it is looked at again. */
const LOOK_AGAIN_MS = 2_000;
const MAX_TIMER_MS = 3_600_000;

export class Scheduler {
  readonly #context: SchedulerContext;
  readonly #limits: SchedulerLimits;
  readonly #queues = new Map<string, DestinationQueue>();
  /** Destinations that have work and may start it, in turn. */
  readonly #ready = new Set<DestinationQueue>();
  readonly #messages = new Map<string, InHand>();
  /** Lane of each delivery in hand, and how many of each lane: what the spool lists again is not taken again. */
  readonly #inHand = new Map<number, string>();
  readonly #laneCounts = new Map<string, number>();
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;
  #stopped = false;
  /** The spool has due deliveries for which there was no room. */
  #moreInSpool = false;
  #sweeping = false;
  #sweepAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = Number.POSITIVE_INFINITY;

  constructor(context: SchedulerContext, limits: SchedulerLimits = SCHEDULER_LIMITS) {
    this.#context = context;
    this.#limits = limits;
  }

  /** Takes new mail: into memory where there is room, else it is left to the spool. All deliveries of a message alike. */
  add({ queueId, content, deliveries }: Accepted): void {
    const first = deliveries[0];
    // After stop the spool has it: it is found at the next start.
    if (!first || this.#stopped) return;
    const bytes = Buffer.isBuffer(content.data) ? content.data.length : 0;
    const room =
      this.#inHand.size + deliveries.length <= this.#limits.deliveries &&
      this.#bytes + bytes <= this.#limits.bytes &&
      deliveries.every(({ destination }) => this.#roomOf(destination) > 0);
    if (!room) {
      this.#park(deliveries);
      return;
    }
    const message = this.#context.message({ queueId, envelope: first.envelope, content });
    this.#messages.set(queueId, { message, bytes, deliveries: 0 });
    this.#bytes += bytes;
    for (const delivery of deliveries) this.#hold(delivery);
    this.#pump();
  }

  /** Looks into the spool for what is due now. */
  async sweep(): Promise<void> {
    this.#sweepAgain = true;
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      while (this.#sweepAgain && !this.#stopped) {
        this.#sweepAgain = false;
        await this.#sweepOnce();
      }
    } catch (error) {
      this.#context.observer.log('error', 'Queue could not be read; trying again', { error: String(error) });
      this.#wakeAt(this.#context.now() + LOOK_AGAIN_MS);
    } finally {
      this.#sweeping = false;
    }
  }

  /** Starts nothing more; resolves when all that runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#running);
  }

  async #sweepOnce(): Promise<void> {
    const nowMs = this.#context.now();
    this.#moreInSpool = false;
    let nextMs = Number.POSITIVE_INFINITY;
    for (let limit = LANES; ; limit *= 2) {
      const lanes = await this.#context.spool.lanes(limit);
      let took = 0;
      for (const lane of lanes) {
        if (lane.dueMs > nowMs) {
          nextMs = Math.min(nextMs, lane.dueMs);
          break;
        }
        took += await this.#takeFrom(lane, nowMs);
        if ((this.#laneCounts.get(laneKey(lane)) ?? 0) > 0) nextMs = Math.min(nextMs, nowMs + LOOK_AGAIN_MS);
      }
      this.#pump();
      // Every lane seen was due: others stand behind them, and must not wait for these to move.
      const all = lanes.length < limit || (lanes.at(-1)?.dueMs ?? 0) > nowMs;
      if (all || this.#stopped || (took === 0 && this.#full())) break;
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#wakeAt(nextMs);
  }

  async #takeFrom(lane: Lane, nowMs: number): Promise<number> {
    const room = Math.min(this.#roomOf(lane.destination), this.#limits.deliveries - this.#inHand.size);
    if (room <= 0) {
      this.#moreInSpool = true;
      return 0;
    }
    const known = this.#laneCounts.get(laneKey(lane)) ?? 0;
    const rows = await this.#context.spool.due(lane, nowMs, known + room);
    if (rows.length === known + room) this.#moreInSpool = true;
    let took = 0;
    for (const delivery of rows) {
      if (this.#inHand.has(delivery.id)) continue;
      const { queueId, envelope } = delivery;
      if (!this.#messages.has(queueId)) {
        this.#messages.set(queueId, { message: this.#context.message({ queueId, envelope }), bytes: 0, deliveries: 0 });
      }
      this.#hold(delivery);
      took += 1;
    }
    return took;
  }

  #hold(delivery: QueuedDelivery): void {
    const key = laneKey({ destination: delivery.destination, sender: senderOf(delivery.envelope) });
    this.#inHand.set(delivery.id, key);
    this.#laneCounts.set(key, (this.#laneCounts.get(key) ?? 0) + 1);
    const message = this.#messages.get(delivery.queueId);
    if (message) message.deliveries += 1;
    const queue = this.#queues.get(delivery.destination) ?? new DestinationQueue(delivery.destination);
    this.#queues.set(delivery.destination, queue);
    queue.push(delivery);
    if (queue.active < this.#limits.perDestination) this.#ready.add(queue);
  }

  /** Starts what may be started, one of each destination in turn. */
  #pump(): void {
    while (!this.#stopped && this.#running.size < this.#limits.attempts) {
      const [queue] = this.#ready;
      if (!queue) return;
      this.#ready.delete(queue);
      const delivery = queue.shift();
      if (!delivery) continue;
      queue.active += 1;
      if (queue.waiting > 0 && queue.active < this.#limits.perDestination) this.#ready.add(queue);
      const running = this.#run(queue, delivery).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  async #run(queue: DestinationQueue, delivery: QueuedDelivery): Promise<void> {
    const inHand = this.#messages.get(delivery.queueId);
    if (!inHand) throw new Error(`no message ${delivery.queueId} in hand`);
    const ended = await this.#context.deliver(delivery, inHand.message);
    queue.active -= 1;
    this.#release(delivery, inHand, ended);
    if (queue.waiting > 0) this.#ready.add(queue);
    else if (queue.active === 0) this.#queues.delete(queue.destination);
    // The slot is free once this has returned.
    queueMicrotask(() => this.#pump());
    if (this.#moreInSpool && queue.waiting <= this.#limits.perDestination) void this.sweep();
  }

  #release(delivery: QueuedDelivery, inHand: InHand, ended: Ended): void {
    inHand.deliveries -= 1;
    if (inHand.deliveries === 0) {
      this.#messages.delete(delivery.queueId);
      this.#bytes -= inHand.bytes;
    }
    // What is held stays in hand, so that the spool's listing of it is passed over until a restart.
    if (ended === 'held') return;
    const key = this.#inHand.get(delivery.id) ?? '';
    this.#inHand.delete(delivery.id);
    const left = (this.#laneCounts.get(key) ?? 1) - 1;
    if (left > 0) this.#laneCounts.set(key, left);
    else this.#laneCounts.delete(key);
    if (ended.dueMs !== undefined) this.#wakeAt(ended.dueMs);
  }

  #park(deliveries: readonly QueuedDelivery[]): void {
    this.#moreInSpool = true;
    this.#context.spool
      .park(deliveries.map(({ id }) => id))
      .then(() => {
        // Room may have come meanwhile, with nothing left in hand to notice.
        if (deliveries.some(({ destination }) => this.#roomOf(destination) > 0) && !this.#full()) return this.sweep();
        return undefined;
      })
      .catch((error: unknown) =>
        this.#context.observer.log('error', 'Message could not be queued for later; it waits for a restart', {
          queueId: deliveries[0]?.queueId,
          error: String(error),
        }),
      );
  }

  #roomOf(destination: string): number {
    return this.#limits.destinationDeliveries - (this.#queues.get(destination)?.waiting ?? 0);
  }

  #full(): boolean {
    return this.#inHand.size >= this.#limits.deliveries;
  }

  #wakeAt(dueMs: number): void {
    if (this.#stopped || dueMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = dueMs;
    const waitMs = Math.min(Math.max(0, dueMs - this.#context.now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timerMs = Number.POSITIVE_INFINITY;
      void this.sweep();
    }, waitMs);
  }
}
