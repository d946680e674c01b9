/** Deliveries of one destination that wait in memory; their senders take turns. */
import type { Envelope } from '../spool/envelope.ts';

/** Sender identity, as the spool has it. */
export const senderOf = ({ user, network }: Envelope): string => user ?? network ?? '';

export class DestinationQueue<Item extends { readonly delivery: { readonly envelope: Envelope } }> {
  readonly destination: string;
  /** Attempts under way. */
  active = 0;
  /** Attempts that may be. */
  #allowed: number;
  readonly #most: number;
  #waiting = 0;
  /** In the order in which they take their turn. */
  readonly #senders = new Map<string, Item[]>();

  /** @param most attempts at once */
  constructor(destination: string, most: number) {
    this.destination = destination;
    this.#most = most;
    this.#allowed = most;
  }

  get isBusy(): boolean {
    return this.active >= this.#allowed;
  }

  /**
   * An attempt is over. Where no host answers, a long queue would fail at full speed, and take CPU and disk from mail that
   * arrives: each failure halves what is tried at once, and each answer adds one.
   */
  ended(hostFailed: boolean): void {
    this.active -= 1;
    this.#allowed = hostFailed ? Math.max(1, Math.floor(this.#allowed / 2)) : Math.min(this.#most, this.#allowed + 1);
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Those whose turn is next. */
  nextSenders(count: number): readonly string[] {
    return [...this.#senders.keys().take(count)];
  }

  hasFrom(sender: string): boolean {
    return this.#senders.has(sender);
  }

  push(item: Item): void {
    const sender = senderOf(item.delivery.envelope);
    const own = this.#senders.get(sender);
    if (own) own.push(item);
    else this.#senders.set(sender, [item]);
    this.#waiting += 1;
  }

  /** Takes out what is not wanted any more. */
  withdraw(unwanted: (item: Item) => boolean): readonly Item[] {
    const out: Item[] = [];
    for (const [sender, own] of this.#senders) {
      const left = own.filter((item) => !unwanted(item));
      if (left.length === own.length) continue;
      out.push(...own.filter(unwanted));
      if (left.length > 0) this.#senders.set(sender, left);
      else this.#senders.delete(sender);
    }
    this.#waiting -= out.length;
    return out;
  }

  shift(): Item | undefined {
    const [next] = this.#senders;
    if (!next) return undefined;
    const [sender, own] = next;
    const item = own.shift();
    this.#senders.delete(sender);
    if (own.length > 0) this.#senders.set(sender, own);
    this.#waiting -= 1;
    return item;
  }
}
