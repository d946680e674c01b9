/** Deliveries of one destination that wait in memory; their senders take turns. */
import type { Envelope } from '../spool/envelope.ts';
import type { Lane, QueuedDelivery } from '../spool/spool.ts';

/** Sender identity, as the spool's lanes have it. */
export const senderOf = ({ user, network }: Envelope): string => user ?? network ?? '';

export const laneKey = ({ destination, sender }: Pick<Lane, 'destination' | 'sender'>): string =>
  `${destination}\n${sender}`;

export class DestinationQueue {
  readonly destination: string;
  /** Attempts under way. */
  active = 0;
  #waiting = 0;
  /** In the order in which they take their turn. */
  readonly #senders = new Map<string, QueuedDelivery[]>();

  constructor(destination: string) {
    this.destination = destination;
  }

  get waiting(): number {
    return this.#waiting;
  }

  push(delivery: QueuedDelivery): void {
    const sender = senderOf(delivery.envelope);
    const own = this.#senders.get(sender);
    if (own) own.push(delivery);
    else this.#senders.set(sender, [delivery]);
    this.#waiting += 1;
  }

  shift(): QueuedDelivery | undefined {
    const [next] = this.#senders;
    if (!next) return undefined;
    const [sender, own] = next;
    const delivery = own.shift();
    this.#senders.delete(sender);
    if (own.length > 0) this.#senders.set(sender, own);
    this.#waiting -= 1;
    return delivery;
  }
}
