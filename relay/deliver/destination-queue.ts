/** Deliveries of one destination that wait in memory; their senders take turns. */
import type { Envelope } from '../spool/envelope.ts';
import type { DestinationLimit } from './destination-limit.ts';

/** Sender identity, as the spool has it. */
export const senderOf = ({ user, network }: Envelope): string => user ?? network ?? '';

export class DestinationQueue<Item extends { readonly delivery: { readonly envelope: Envelope } }> {
  readonly destination: string;
  /** Attempts under way. */
  active = 0;
  /** Attempts that may be. */
  #allowed: number;
  /** Where no limit says how many. */
  readonly #usual: number;
  #most: number;
  #waiting = 0;
  #limit: DestinationLimit | undefined;
  /** In the order in which they take their turn. */
  readonly #senders = new Map<string, Item[]>();

  /** @param most attempts at once */
  constructor(destination: string, most: number) {
    this.destination = destination;
    this.#usual = most;
    this.#most = most;
    this.#allowed = most;
  }

  get limit(): DestinationLimit | undefined {
    return this.#limit;
  }

  /** What its servers may be asked at most, as far as that is known. */
  set limit(limit: DestinationLimit | undefined) {
    if (!limit && !this.#limit) return;
    if (this.#limit) this.#limit.waiting -= this.#waiting;
    if (limit) limit.waiting += this.#waiting;
    this.#limit = limit;
    const most = limit && Number.isFinite(limit.connections) ? limit.connections : this.#usual;
    if (most === this.#most) return;
    this.#allowed = this.#allowed === this.#most ? most : Math.min(this.#allowed, most);
    this.#most = most;
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
    this.#wait(1);
  }

  /** It was begun and could not be: it is the first one again. */
  putBack(item: Item): void {
    this.active -= 1;
    const sender = senderOf(item.delivery.envelope);
    const before = [...this.#senders];
    const own = this.#senders.get(sender) ?? [];
    this.#senders.clear();
    this.#senders.set(sender, [item, ...own]);
    for (const [other, items] of before) if (other !== sender) this.#senders.set(other, items);
    this.#wait(1);
  }

  #wait(change: number): void {
    this.#waiting += change;
    if (this.#limit) this.#limit.waiting += change;
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
    this.#wait(-out.length);
    return out;
  }

  shift(): Item | undefined {
    const [next] = this.#senders;
    if (!next) return undefined;
    const [sender, own] = next;
    const item = own.shift();
    this.#senders.delete(sender);
    if (own.length > 0) this.#senders.set(sender, own);
    this.#wait(-1);
    return item;
  }
}
