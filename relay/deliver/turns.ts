/**
 * Destinations that may start something. The senders of what they hold take turns: one who has mail for ten thousand
 * destinations delays a message of another by one attempt, not by ten thousand, also where both write to the same one.
 */
export class Turns<Queue extends { nextSenders(count: number): readonly string[] }> {
  /** In the order in which senders have their turn. */
  readonly #bySender = new Map<string, Set<Queue>>();
  readonly #sendersOf = new Map<Queue, Set<string>>();

  /** Again when it has got more. */
  add(queue: Queue): void {
    const known = this.#sendersOf.get(queue) ?? new Set();
    for (const sender of queue.nextSenders(SENDERS)) {
      known.add(sender);
      const own = this.#bySender.get(sender);
      if (own) own.add(queue);
      else this.#bySender.set(sender, new Set([queue]));
    }
    if (known.size > 0) this.#sendersOf.set(queue, known);
  }

  delete(queue: Queue): void {
    for (const sender of this.#sendersOf.get(queue) ?? []) {
      const own = this.#bySender.get(sender);
      own?.delete(queue);
      if (own?.size === 0) this.#bySender.delete(sender);
    }
    this.#sendersOf.delete(queue);
  }

  /**
   * The next one of the sender whose turn it is. What is sent is for the queue to say: its senders take turns there.
   *
   * @param may whether it can be the turn of a sender, for that queue
   */
  shift(may: (sender: string, queue: Queue) => boolean = () => true): Queue | undefined {
    for (const [sender, own] of this.#bySender) {
      const [queue] = own;
      if (!queue || !may(sender, queue)) continue;
      this.delete(queue);
      if (own.size > 0) {
        this.#bySender.delete(sender);
        this.#bySender.set(sender, own);
      }
      return queue;
    }
    return undefined;
  }
}

/** Of those who wait for a destination, so many can make it start; the others follow, since all take turns there. */
const SENDERS = 8;
