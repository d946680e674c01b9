/** What delivery holds in memory: deliveries that wait or are being tried, and the messages they share. */
import type { Envelope } from '../spool/envelope.ts';
import type { Content, Lane, QueuedDelivery } from '../spool/spool.ts';
import { senderOf } from './destination-queue.ts';
import type { Message } from './message.ts';

export interface Held {
  readonly delivery: QueuedDelivery;
  readonly message: Message;
}

interface Shared {
  readonly message: Message;
  /** Of content kept in memory. */
  readonly bytes: number;
  deliveries: number;
}

export type MakeMessage = (of: { queueId: string; envelope: Envelope; content?: Content }) => Message;

const keyOf = ({ destination, sender }: Pick<Lane, 'destination' | 'sender'>): string => `${destination}\n${sender}`;

export class InHand {
  readonly #makeMessage: MakeMessage;
  readonly #deliveries = new Set<number>();
  readonly #messages = new Map<string, Shared>();
  readonly #lanes = new Map<string, number>();
  #bytes = 0;

  constructor(makeMessage: MakeMessage) {
    this.#makeMessage = makeMessage;
  }

  /** Deliveries. */
  get size(): number {
    return this.#deliveries.size;
  }

  /** Of content. */
  get bytes(): number {
    return this.#bytes;
  }

  has(delivery: number): boolean {
    return this.#deliveries.has(delivery);
  }

  ofLane(lane: Pick<Lane, 'destination' | 'sender'>): number {
    return this.#lanes.get(keyOf(lane)) ?? 0;
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
    const lane = laneOf(delivery);
    this.#lanes.set(lane, (this.#lanes.get(lane) ?? 0) + 1);
    return { delivery, message: shared.message };
  }

  release({ delivery }: Held): void {
    this.forgetContent(delivery);
    this.#deliveries.delete(delivery.id);
    const lane = laneOf(delivery);
    const left = (this.#lanes.get(lane) ?? 1) - 1;
    if (left > 0) this.#lanes.set(lane, left);
    else this.#lanes.delete(lane);
  }

  /** The delivery stays in hand and will not be tried again: it needs its message no more. */
  forgetContent({ queueId }: QueuedDelivery): void {
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

const laneOf = ({ destination, envelope }: QueuedDelivery): string =>
  keyOf({ destination, sender: senderOf(envelope) });
