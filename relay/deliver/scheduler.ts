/**
 * What is tried when, of what is in memory. Each destination has its own queue and its own share of connections, so one
 * that is slow holds up nobody else; within a destination senders take turns, so one that sends much does not hold up the
 * others. New mail goes from memory, within bounds; what waits in the spool is taken from there by the lookout.
 */
import type { Observer } from '../observe/events.ts';
import type { Movable } from '../spool/move.ts';
import type { Accepted, QueuedDelivery, Selection, Spool } from '../spool/spool.ts';
import { Attempts } from './attempts.ts';
import type { Ended } from './delivery.ts';
import type { DestinationLimit, Lease, Waiter } from './destination-limit.ts';
import { DestinationQueue, senderOf } from './destination-queue.ts';
import { bytesOf, type Held, InHand, type MakeMessage } from './in-hand.ts';
import { NoRoom } from './leases.ts';
import { Lookout } from './lookout.ts';
import { Overflows } from './overflow.ts';
import { Parking } from './parking.ts';
import { SCHEDULER_LIMITS, type SchedulerLimits } from './scheduler-limits.ts';
import { Turns } from './turns.ts';

export interface SchedulerContext {
  readonly spool: Pick<Spool, 'destinations' | 'take' | 'giveBack' | 'park'>;
  readonly observer: Pick<Observer, 'log'>;
  /** True: nothing is begun, and nobody looks into the spool; see resume. */
  readonly suspended: () => boolean;
  /** Called before the spool is asked for what is due. */
  readonly followClock: () => Promise<void>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly message: MakeMessage;
  /** Of the servers of a destination, as far as it is known. */
  readonly limitOf: (destination: string) => DestinationLimit | undefined;
  /** Never rejects. @param lease of that limit */
  readonly deliver: (held: Held, lease?: Lease) => Promise<Ended>;
}

export class Scheduler {
  readonly #context: SchedulerContext;
  readonly #limits: SchedulerLimits;
  readonly #inHand: InHand;
  readonly #queues = new Map<string, DestinationQueue<Held>>();
  /** Destinations that may start something, in turn: those with nothing under way, and the others. */
  readonly #idle = new Turns<DestinationQueue<Held>>();
  readonly #ready = new Turns<DestinationQueue<Held>>();
  readonly #attempts: Attempts;
  /** Deliveries that wait in memory. */
  readonly #queued = new Set<number>();
  /** Deliveries that are another's to deal with. */
  readonly #reserved = new Set<number>();
  /** Those of them that still stand in a queue here. */
  readonly #dropped = new Set<number>();
  readonly #waiters = new WeakMap<DestinationQueue<Held>, Waiter>();
  #stopped = false;
  readonly #overflows: Overflows;
  readonly #lookout: Lookout;
  readonly #parking: Parking;
  /** Something may have been left undone because delivery was suspended. */
  #asleep = false;

  constructor(context: SchedulerContext, limits: SchedulerLimits = SCHEDULER_LIMITS) {
    this.#context = context;
    this.#limits = limits;
    this.#inHand = new InHand(context.message);
    this.#attempts = new Attempts(limits.attempts, () => this.#pump());
    this.#overflows = new Overflows(limits.perDestination);
    this.#lookout = new Lookout({ ...context, suspended: () => this.#isSuspended() }, limits, this.#overflows, {
      taken: () => this.#inHand.taken,
      has: (destination) => this.#queues.has(destination),
      waiting: (destination) => this.#queues.get(destination)?.waiting ?? 0,
      take: (delivery) => {
        if (this.#inHand.has(delivery.id) || this.#reserved.has(delivery.id)) return;
        this.#enqueue(this.#inHand.hold(delivery));
      },
      begin: () => this.#pump(),
    });
    this.#parking = new Parking(
      context,
      this.#overflows,
      (destination) => this.#queues.has(destination),
      () => this.sweep(),
    );
  }

  /** Takes new mail: into memory where there is room, else it is left to the spool. All deliveries of a message alike. */
  add({ content, deliveries }: Accepted): void {
    // After stop the spool has it: it is found at the next start.
    if (this.#stopped) return;
    const room =
      this.#inHand.new + deliveries.length <= this.#limits.deliveries &&
      this.#inHand.bytes + bytesOf(content) <= this.#limits.bytes &&
      deliveries.every((delivery) => this.#hasRoomFor(delivery));
    if (!room) {
      this.#parking.park(deliveries);
      return;
    }
    for (const delivery of deliveries) {
      this.#overflows.passed(delivery.destination);
      this.#enqueue(this.#inHand.hold(delivery, content));
    }
    this.#pump();
  }

  /** To be called when delivery may no longer be suspended. */
  resume(): void {
    if (!this.#asleep || this.#isSuspended()) return;
    this.#asleep = false;
    this.#pump();
    void this.sweep();
  }

  /** Looks into the spool for what is due now. Resolves when it has looked; never rejects. */
  async sweep(): Promise<void> {
    await this.#lookout.sweep();
  }

  /** Looks into the spool then. */
  wakeAt(dueMs: number): void {
    this.#lookout.wakeAt(dueMs);
  }

  /**
   * Keeps the deliveries of a message from being tried, until letGo; false when one of them is in hand, or is about to
   * be: new mail is in the spool before it comes here.
   *
   * @param take whether those that wait in memory may be taken from there
   */
  reserve({ deliveries, inMemory }: Movable, take: boolean): boolean {
    const held = deliveries.filter((id) => this.#inHand.has(id) && !this.#dropped.has(id));
    if (inMemory.some((id) => !held.includes(id))) return false;
    if (held.length > 0 && !(take && held.every((id) => this.#queued.has(id)))) return false;
    for (const id of deliveries) this.#reserved.add(id);
    for (const id of held) this.#dropped.add(id);
    return true;
  }

  /** They are another's for good: what of them stands in a queue here is passed over when its turn comes. */
  gone(deliveries: readonly number[]): void {
    for (const id of deliveries) this.#reserved.delete(id);
  }

  /** They are tried again, where they are still here: from memory, or from the spool. */
  letGo(deliveries: readonly number[]): void {
    for (const id of deliveries) {
      this.#reserved.delete(id);
      this.#dropped.delete(id);
    }
    const elsewhere = deliveries.filter((id) => !this.#inHand.has(id));
    if (elsewhere.length === 0) return;
    this.#giveBack(elsewhere);
    this.#parking.comesBack(elsewhere);
  }

  /** There is room for what waits in the spool then. */
  #giveBack(deliveries: readonly number[]): void {
    this.#context.spool.giveBack(deliveries).then(
      () => this.sweep(),
      (error: unknown) => this.#lookout.unreadable(error),
    );
  }

  /**
   * Lets go of deliveries that are on hold in the spool by now. What of them a look into the spool found before came
   * before the answer that they are on hold, so it is here already, and none comes after.
   *
   * @returns by queue id: resolves when what is under way has ended
   */
  withdraw(selections: readonly Selection[]): ReadonlyMap<string, Promise<void>> {
    const wanted = new Map(selections.map(({ queueId, destinations }) => [queueId, destinations]));
    const selected = ({ queueId, destination }: QueuedDelivery): boolean =>
      wanted.has(queueId) && (wanted.get(queueId)?.includes(destination) ?? true);
    const back: number[] = [];
    for (const queue of this.#queues.values()) {
      for (const held of queue.withdraw(({ delivery }) => selected(delivery))) {
        this.#forget(held);
        back.push(held.delivery.id);
      }
      if (queue.waiting > 0) continue;
      this.#idle.delete(queue);
      this.#ready.delete(queue);
      if (queue.active === 0) this.#queues.delete(queue.destination);
    }
    this.#giveBack(back);
    return this.#attempts.withdraw(selected);
  }

  /** Starts nothing more; resolves when all that runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#parking.stop();
    await Promise.all([this.#attempts.ended(), this.#lookout.stop()]);
  }

  #isSuspended(): boolean {
    const suspended = this.#context.suspended();
    if (suspended) this.#asleep = true;
    return suspended;
  }

  #enqueue(held: Held): void {
    const { destination } = held.delivery;
    const queue = this.#queues.get(destination) ?? new DestinationQueue(destination, this.#limits.perDestination);
    this.#queues.set(destination, queue);
    queue.push(held);
    this.#queued.add(held.delivery.id);
    this.#makeReady(queue);
  }

  #makeReady(queue: DestinationQueue<Held>): void {
    if (queue.waiting === 0 || queue.isBusy || !this.#hasRoomAt(queue)) return;
    if (queue.active === 0) this.#idle.add(queue);
    else this.#ready.add(queue);
  }

  /** Starts what may be started, one of each destination in turn; what is too much for now in the next turn. */
  #pump(): void {
    while (!this.#stopped && this.#attempts.mayBegin && !this.#isSuspended()) {
      const queue = this.#attempts.next(this.#idle, this.#ready);
      if (!queue) return;
      // Others may have taken what room there was when it became ready.
      if (!this.#hasRoomAt(queue)) continue;
      const held = queue.shift();
      if (!held) continue;
      this.#queued.delete(held.delivery.id);
      if (this.#dropped.delete(held.delivery.id)) this.#drop(queue, held);
      else this.#begin(queue, held);
    }
  }

  /** Where there is none, the queue is ready again once there is. */
  #hasRoomAt(queue: DestinationQueue<Held>): boolean {
    queue.limit = this.#context.limitOf(queue.destination);
    if (queue.limit?.hasRoom !== false) return true;
    queue.limit.wait(this.#waiterOf(queue));
    return false;
  }

  /** The same one each time, so that it waits once. */
  #waiterOf(queue: DestinationQueue<Held>): Waiter {
    const waiter = this.#waiters.get(queue) ?? (() => this.#goOn(queue));
    this.#waiters.set(queue, waiter);
    return waiter;
  }

  #goOn(queue: DestinationQueue<Held>): void {
    this.#makeReady(queue);
    this.#pump();
  }

  #begin(queue: DestinationQueue<Held>, held: Held): void {
    queue.active += 1;
    const lease = queue.limit?.enter();
    this.#makeReady(queue);
    const { delivery } = held;
    this.#attempts.begin(delivery, senderOf(delivery.envelope), () => this.#run(queue, held, lease));
  }

  #forget(held: Held): void {
    this.#queued.delete(held.delivery.id);
    this.#dropped.delete(held.delivery.id);
    this.#inHand.release(held);
  }

  #drop(queue: DestinationQueue<Held>, held: Held): void {
    this.#inHand.release(held);
    this.#makeReady(queue);
    if (queue.waiting === 0 && queue.active === 0) this.#queues.delete(queue.destination);
  }

  async #run(queue: DestinationQueue<Held>, held: Held, lease: Lease | undefined): Promise<void> {
    const ended = await this.#context.deliver(held, lease);
    if (ended instanceof NoRoom) {
      this.#putBack(queue, held);
      return;
    }
    queue.ended(ended !== 'held' && ended.hostFailed === true);
    if (queue.active === 0 || queue.isBusy) this.#ready.delete(queue);
    this.#makeReady(queue);
    if (queue.waiting === 0 && queue.active === 0) this.#queues.delete(queue.destination);
    // What is held stays in hand until a restart, here and in the spool.
    if (ended === 'held') this.#inHand.keep(held);
    else {
      this.#inHand.release(held);
      if (ended.dueMs !== undefined) this.wakeAt(ended.dueMs);
    }
    if (this.#stopped) return;
    this.#lookout.attemptEnded(queue);
  }

  /** It waits as before; but what was taken out of hand meanwhile goes, as if it had been found waiting. */
  #putBack(queue: DestinationQueue<Held>, held: Held): void {
    const { id } = held.delivery;
    if (this.#attempts.hasLeft(id)) {
      queue.active -= 1;
      this.#forget(held);
      this.#giveBack([id]);
    } else {
      this.#queues.set(queue.destination, queue);
      queue.putBack(held);
      this.#queued.add(id);
    }
    this.#makeReady(queue);
    if (queue.waiting === 0 && queue.active === 0) this.#queues.delete(queue.destination);
  }

  #hasRoomFor({ destination, envelope }: QueuedDelivery): boolean {
    const queue = this.#queues.get(destination);
    const waiting = Math.max(queue?.waiting ?? 0, this.#context.limitOf(destination)?.waiting ?? 0);
    if (waiting >= this.#limits.destinationDeliveries) return false;
    return this.#overflows.letsPass(destination, !queue?.hasFrom(senderOf(envelope)));
  }
}
