/**
 * Takes from the spool what is due, as much as there is room for in memory: what was deferred, and new mail that was
 * beyond the bounds of memory. Between due times nothing is asked: a timer stands at the earliest.
 */
import type { DueDestination, QueuedDelivery } from '../spool/spool.ts';
import type { DestinationLimit } from './destination-limit.ts';
import type { Overflows } from './overflow.ts';
import type { SchedulerContext } from './scheduler.ts';
import type { SchedulerLimits } from './scheduler-limits.ts';

/** What is in memory, as the lookout sees it. */
export interface Memory {
  /** Deliveries that were taken from the spool. */
  taken(): number;
  /** Something of the destination waits or is tried. */
  has(destination: string): boolean;
  /** Deliveries that wait for their turn. */
  waiting(destination: string): number;
  /** Unless it is there already, or another's to deal with. */
  take(delivery: QueuedDelivery): void;
  /** Starts what may be started. */
  begin(): void;
}

/** The queue of a destination, after an attempt. */
interface Ended {
  readonly destination: string;
  readonly waiting: number;
  readonly limit: DestinationLimit | undefined;
}

/** Destinations asked of the spool at once, and looked at side by side. */
const PAGE = 200;
const SIDE_BY_SIDE = 16;
const FIRST: DueDestination = { destination: '', dueMs: Number.MIN_SAFE_INTEGER };
/** After a failure to read the spool. */
export const LOOK_AGAIN_MS = 2_000;
const MAX_TIMER_MS = 3_600_000;

export class Lookout {
  readonly #context: Omit<SchedulerContext, 'deliver' | 'message'>;
  readonly #limits: SchedulerLimits;
  readonly #overflows: Overflows;
  readonly #memory: Memory;
  readonly #filling = new Set<string>();
  /** Where the sweep ended for want of room; it goes on from there, so that all destinations have their turn. */
  #halted: DueDestination | undefined;
  #sweep: Promise<void> | undefined;
  #sweepAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #stopped = false;

  constructor(
    context: Omit<SchedulerContext, 'deliver' | 'message'>,
    limits: SchedulerLimits,
    overflows: Overflows,
    memory: Memory,
  ) {
    this.#context = context;
    this.#limits = limits;
    this.#overflows = overflows;
    this.#memory = memory;
  }

  /** Looks into the spool for what is due now. Resolves when it has looked; never rejects. */
  async sweep(): Promise<void> {
    if (this.#stopped) return;
    this.#sweepAgain = true;
    this.#sweep ??= this.#sweepWhileAsked();
    await this.#sweep;
  }

  /** Looks no more; resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#sweep;
  }

  /** There may be room for more of its destination, and of others. */
  attemptEnded({ destination, waiting, limit }: Ended): void {
    this.#fillLater(limit);
    if (this.#overflows.has(destination) && waiting <= this.#limits.perDestination) void this.#refill(destination);
    if (this.#halted && this.#memory.taken() <= 2 * this.#limits.taken - PAGE) void this.sweep();
  }

  async #sweepWhileAsked(): Promise<void> {
    try {
      while (this.#sweepAgain && !this.#stopped) {
        this.#sweepAgain = false;
        await this.#context.followClock();
        await this.#sweepOnce(this.#context.now());
      }
    } catch (error) {
      this.unreadable(error);
    } finally {
      this.#sweep = undefined;
    }
  }

  async #sweepOnce(nowMs: number): Promise<void> {
    if (this.#context.suspended()) return;
    let after = this.#halted ?? FIRST;
    // What it passed before it was halted is looked at once more when it gets to the end.
    let again = after !== FIRST;
    this.#halted = undefined;
    for (;;) {
      if (this.#memory.taken() >= 2 * this.#limits.taken) {
        this.#halted = after;
        return;
      }
      const { due, nextMs } = await this.#context.spool.destinations(nowMs, PAGE, after);
      for (let from = 0; from < due.length; from += SIDE_BY_SIDE) {
        const some = due.slice(from, from + SIDE_BY_SIDE);
        await Promise.all(some.map(({ destination }) => this.#fill(destination, nowMs, some.length)));
        if (this.#stopped) return;
        after = some.at(-1) ?? after;
        if (this.#memory.taken() >= 2 * this.#limits.taken) break;
      }
      if (due.length === PAGE || this.#memory.taken() >= 2 * this.#limits.taken) continue;
      if (!again) return this.wakeAt(nextMs ?? Number.POSITIVE_INFINITY);
      again = false;
      after = FIRST;
    }
  }

  /** Takes what is due of a destination, as much as there is room for. @param among so many that are filled at once */
  async #fill(destination: string, nowMs: number, among = 1): Promise<void> {
    if (this.#isLeftForLater(destination)) return;
    const waiting = this.#memory.waiting(destination);
    const room = Math.floor((this.#limits.taken - this.#memory.taken()) / among);
    const limit = Math.min(Math.max(0, this.#limits.destinationTaken - waiting), Math.max(waiting === 0 ? 1 : 0, room));
    if (limit === 0 || waiting > this.#limits.perDestination || this.#filling.has(destination)) {
      this.#overflows.add(destination);
      return;
    }
    this.#filling.add(destination);
    try {
      const afterSender = this.#overflows.lastSenderOf(destination);
      const wish = { nowMs, limit, afterSender };
      const { deliveries, lastSender, more, nextMs } = await this.#context.spool.take(destination, wish);
      this.#overflows.taken(destination, lastSender, more);
      for (const delivery of deliveries) this.#memory.take(delivery);
      if (nextMs !== undefined) this.wakeAt(nextMs);
      // All that was taken is damaged.
      if (more && !this.#memory.has(destination)) this.wakeAt(nowMs);
    } finally {
      this.#filling.delete(destination);
    }
    this.#memory.begin();
  }

  /** However many destinations wait for the same servers, there is room in memory for the mail of others. */
  #isLeftForLater(destination: string): boolean {
    const limit = this.#context.limitOf(destination);
    if (!limit || limit.waiting < this.#limits.destinationTaken) return false;
    this.#overflows.add(destination);
    if (!limit.leaveForLater(destination)) this.wakeAt(this.#context.now() + LOOK_AGAIN_MS);
    return true;
  }

  #fillLater(limit: DestinationLimit | undefined): void {
    if (!limit || limit.waiting > this.#limits.perDestination) return;
    for (const destination of limit.takeLater(SIDE_BY_SIDE)) void this.#refill(destination, SIDE_BY_SIDE);
  }

  async #refill(destination: string, among = 1): Promise<void> {
    if (this.#context.suspended()) return;
    try {
      await this.#fill(destination, this.#context.now(), among);
    } catch (error) {
      this.unreadable(error);
    }
  }

  /** Looks again in a while. */
  unreadable(error: unknown): void {
    this.#context.observer.log('error', 'Queue could not be read; trying again', { error: String(error) });
    this.wakeAt(this.#context.now() + LOOK_AGAIN_MS);
  }

  /** Looks into the spool then. */
  wakeAt(dueMs: number): void {
    if (this.#stopped || dueMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = dueMs;
    this.#timer = setTimeout(
      () => {
        this.#timerMs = Number.POSITIVE_INFINITY;
        void this.sweep();
      },
      Math.min(Math.max(0, dueMs - this.#context.now()), MAX_TIMER_MS),
    );
  }
}
