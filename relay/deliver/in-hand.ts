/** What delivery holds in memory: deliveries that wait or are being tried, and the messages they share. */
import type { Envelope } from '../spool/envelope.ts';
import type { Content, QueuedDelivery } from '../spool/spool.ts';
import type { Message } from './message.ts';

export interface Held {
  readonly delivery: QueuedDelivery;
  readonly message: Message;
  /** Came with its content, and was never in the spool's index. */
  readonly isNew: boolean;
}

interface Shared {
  readonly message: Message;
  /** Of content kept in memory. */
  readonly bytes: number;
  deliveries: number;
}

export type MakeMessage = (of: { queueId: string; envelope: Envelope; content?: Content }) => Message;

export class InHand {
  readonly #makeMessage: MakeMessage;
  readonly #deliveries = new Set<number>();
  readonly #messages = new Map<string, Shared>();
  #new = 0;
  #taken = 0;
  #bytes = 0;

  constructor(makeMessage: MakeMessage) {
    this.#makeMessage = makeMessage;
  }

  /** Deliveries of new mail. */
  get new(): number {
    return this.#new;
  }

  /** Deliveries that were taken from the spool. */
  get taken(): number {
    return this.#taken;
  }

  /** Of content. */
  get bytes(): number {
    return this.#bytes;
  }

  has(delivery: number): boolean {
    return this.#deliveries.has(delivery);
  }

  /** @param content absent: it is read from the spool when it is needed */
  hold(delivery: QueuedDelivery, content?: Content): Held {
    const { queueId, envelope } = delivery;
    const shared = this.#messages.get(queueId) ?? {
      message: this.#makeMessage({ queueId, envelope, ...(content && { content }) }),
      bytes: bytesOf(content),
      deliveries: 0,
    };
    if (shared.deliveries === 0) {
      this.#messages.set(queueId, shared);
      this.#bytes += shared.bytes;
    }
    shared.deliveries += 1;
    this.#deliveries.add(delivery.id);
    const isNew = content !== undefined;
    if (isNew) this.#new += 1;
    else this.#taken += 1;
    return { delivery, message: shared.message, isNew };
  }

  release(held: Held): void {
    this.#deliveries.delete(held.delivery.id);
    this.keep(held);
  }

  /** The delivery stays in hand and will not be tried again: it takes no room any more. */
  keep({ delivery: { queueId }, isNew }: Held): void {
    if (isNew) this.#new -= 1;
    else this.#taken -= 1;
    const shared = this.#messages.get(queueId);
    if (!shared) return;
    shared.deliveries -= 1;
    if (shared.deliveries > 0) return;
    this.#messages.delete(queueId);
    this.#bytes -= shared.bytes;
  }
}

export const bytesOf = (content: Content | undefined): number =>
  Buffer.isBuffer(content?.data) ? content.data.length : 0;
