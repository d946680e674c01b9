/** The attempts that are under way: how many more may begin, and of whose mail. */
import type { QueuedDelivery } from '../spool/spool.ts';
import type { Turns } from './turns.ts';

/**
 * Attempts begun in one turn of the event loop. Where the CPU is what holds delivery, all that is under way shares it: a
 * thousand at once would each take as long as all of them, and so would the one message of another sender.
 */
const BEGUN_AT_ONCE = 8;

interface Queue {
  nextSenders(count: number): readonly string[];
}

export class Attempts {
  readonly #most: number;
  readonly #goOn: () => void;
  readonly #running = new Map<Promise<void>, QueuedDelivery>();
  readonly #ofSender = new Map<string, number>();
  /** Deliveries that are on hold by now, and whose attempt was under way then. */
  readonly #leaving = new Set<number>();
  /** In this turn of the event loop. */
  #begun = 0;

  /**
   * @param most at once; see SchedulerLimits.attempts
   * @param goOn called when others may begin
   */
  constructor(most: number, goOn: () => void) {
    this.#most = most;
    this.#goOn = goOn;
  }

  /** False: so many have begun that the next ones wait for the next turn of the event loop. */
  get mayBegin(): boolean {
    return this.#begun < BEGUN_AT_ONCE;
  }

  /**
   * Whose turn it is. Destinations that hang may use up all attempts: one that has none yet can still begin, so it is not
   * held up. A sender with mail for a thousand that hang may use up these as well: another who has none can still begin.
   *
   * @param idle destinations with nothing under way
   * @param ready the others
   */
  next<Of extends Queue>(idle: Turns<Of>, ready: Turns<Of>): Of | undefined {
    const running = this.#running.size;
    if (running >= 2.5 * this.#most) return undefined;
    if (running >= 2 * this.#most) {
      return idle.shift((sender, queue) => !this.#ofSender.has(sender) && queue.nextSenders(1)[0] === sender);
    }
    return idle.shift() ?? (running < this.#most ? ready.shift() : undefined);
  }

  /** @param attempt never rejects */
  begin(delivery: QueuedDelivery, sender: string, attempt: () => Promise<void>): void {
    if (this.#begun === 0) {
      setImmediate(() => {
        this.#begun = 0;
        this.#goOn();
      });
    }
    this.#begun += 1;
    this.#count(sender, 1);
    const running = attempt().finally(() => {
      this.#running.delete(running);
      this.#leaving.delete(delivery.id);
      this.#count(sender, -1);
      this.#goOn();
    });
    this.#running.set(running, delivery);
  }

  /**
   * What is selected is on hold by now.
   *
   * @returns by queue id: resolves when what is under way has ended
   */
  withdraw(selected: (delivery: QueuedDelivery) => boolean): ReadonlyMap<string, Promise<void>> {
    const underWay = [...this.#running].filter(([, delivery]) => selected(delivery));
    for (const [, { id }] of underWay) this.#leaving.add(id);
    return new Map(
      [...Map.groupBy(underWay, ([, { queueId }]) => queueId)].map(([queueId, attempts]) => [
        queueId,
        Promise.all(attempts.map(([attempt]) => attempt)).then(() => undefined),
      ]),
    );
  }

  /** Whether it was withdrawn while it was tried; it is told once. */
  hasLeft(delivery: number): boolean {
    return this.#leaving.delete(delivery);
  }

  /** Resolves when all that are under way have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#running.keys());
  }

  #count(sender: string, change: number): void {
    const attempts = (this.#ofSender.get(sender) ?? 0) + change;
    if (attempts > 0) this.#ofSender.set(sender, attempts);
    else this.#ofSender.delete(sender);
  }
}
