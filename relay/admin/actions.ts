/**
 * What a person does to queued mail. Hold comes first wherever a message is to end: it is durable, nothing starts an
 * attempt from then on, and an attempt that is under way ends before the message does. A kill in between leaves the
 * message on hold, never lost, never sent after it was returned.
 */
import type { Deliverer, Failed } from '../deliver/deliverer.ts';
import type { Message } from '../deliver/message.ts';
import { ownReply } from '../deliver/reply.ts';
import type { Observer } from '../observe/events.ts';
import type { Envelope, Recipient, Reply } from '../spool/envelope.ts';
import type { Accepted, QueuedMessage, SpawnedMessage, Spool } from '../spool/spool.ts';
import type { ActionResult } from './shapes.ts';

export const ACTIONS = ['hold', 'release', 'retry', 'bounce', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

type Result = ActionResult['messages'][number]['result'];

export interface ActionsOptions {
  readonly spool: Pick<Spool, 'steer' | 'show' | 'record'>;
  readonly deliverer: Pick<Deliverer, 'withdraw' | 'wakeAt' | 'enqueue'>;
  readonly observer: Observer;
  /** The notice to a sender; undefined where none is due. */
  readonly report: (failed: Failed) => SpawnedMessage | undefined;
  readonly message: (of: { queueId: string; envelope: Envelope }) => Pick<Message, 'headers' | 'inMemory'>;
  readonly now: () => number;
}

/** Most attempts end within it; the others go on, and what waits for them is done behind the answer. */
const WAIT_FOR_ATTEMPTS_MS = 2_000;

export class Actions {
  readonly #options: ActionsOptions;

  constructor(options: ActionsOptions) {
    this.#options = options;
  }

  /**
   * @param messages with the deliveries that are meant
   * @returns what became of each, in their order
   * @throws {SpoolUnavailable}
   */
  async act(action: Action, messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    switch (action) {
      case 'hold':
        return this.#hold(messages, by);
      case 'release':
      case 'retry':
        return this.#wake(action, messages, by);
      case 'bounce':
      case 'delete':
        return this.#end(action, messages, by);
    }
  }

  async #hold(messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    const { spool, deliverer } = this.#options;
    const steered = await spool.steer('hold', messages.map(selectionOf));
    const underWay = deliverer.withdraw(messages.map(selectionOf));
    return messages.map((message, index) => {
      const { deliveries = 0, changed = 0, moving = false } = steered[index] ?? {};
      if (deliveries === 0) return 'gone';
      if (moving) return 'moving';
      if (changed > 0) this.#tell('held', message, by);
      if (underWay.has(message.queueId)) return 'attempting';
      return changed > 0 ? 'done' : 'unchanged';
    });
  }

  async #wake(action: 'release' | 'retry', messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    const steered = await this.#options.spool.steer(action, messages.map(selectionOf));
    this.#options.deliverer.wakeAt(this.#options.now());
    return messages.map((message, index) => {
      const { deliveries = 0, changed = 0, moving = false } = steered[index] ?? {};
      if (deliveries === 0) return 'gone';
      if (moving) return 'moving';
      if (changed > 0) this.#tell(action === 'release' ? 'released' : 'hurried', message, by);
      return changed > 0 ? 'done' : 'unchanged';
    });
  }

  async #end(action: 'bounce' | 'delete', messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    const { spool, deliverer, observer } = this.#options;
    const steered = await spool.steer('hold', messages.map(selectionOf));
    const underWay = deliverer.withdraw(messages.map(selectionOf));
    const end = action === 'bounce' ? this.#bounce.bind(this) : this.#delete.bind(this);
    return Promise.all(
      messages.map(async (message, index): Promise<Result> => {
        if (steered[index]?.moving) return 'moving';
        const attempt = underWay.get(message.queueId);
        if (!attempt) return end(message, by);
        const ending = attempt.then(() => end(message, by));
        const late = new Promise<'attempting'>((resolve) => {
          setTimeout(() => resolve('attempting'), WAIT_FOR_ATTEMPTS_MS).unref();
        });
        return Promise.race([ending, late]).finally(() => {
          ending.catch((error: unknown) =>
            observer.log('error', `A message could not be ended after its attempt; it is on hold`, {
              queueId: message.queueId,
              action,
              error: String(error),
            }),
          );
        });
      }),
    );
  }

  async #delete(message: QueuedMessage, by: string): Promise<Result> {
    const [steered] = await this.#options.spool.steer('remove', [selectionOf(message)]);
    if (steered?.moving) return 'moving';
    if (!steered || steered.changed === 0) return 'gone';
    this.#tell('removed', message, by);
    return 'done';
  }

  /** What is left of the message is returned: an attempt that was under way may have delivered some of it. */
  async #bounce(asked: QueuedMessage, by: string): Promise<Result> {
    const { spool, deliverer, observer, now } = this.#options;
    const { queueId } = asked;
    const message = await spool.show(queueId);
    const destinations = asked.deliveries.map(({ destination }) => destination);
    const deliveries = message?.deliveries.filter(({ destination }) => destinations.includes(destination)) ?? [];
    if (!message || deliveries.length === 0) return 'gone';
    const nowMs = now();
    const failed = deliveries.flatMap(({ recipients }) => recipients.map(givenUp));
    const notice = await this.#notice(message, failed, nowMs);
    const spawned = await this.#recordEnd(message, deliveries, notice, nowMs);
    if (spawned === 'moving') return spawned;
    const dsn = spawned && { dsn: spawned.queueId };
    this.#tell('returned', { ...message, deliveries }, by, dsn);
    for (const { destination, attempts, recipients } of deliveries) {
      for (const recipient of recipients.map(givenUp)) {
        observer.message({
          event: 'bounced',
          queueId,
          recipient: recipient.address,
          destination,
          reply: recipient.lastReply,
          attempts,
          ageMs: nowMs - message.envelope.arrivedMs,
          ...dsn,
          by,
        });
      }
    }
    if (spawned) deliverer.enqueue(spawned);
    return 'done';
  }

  /** A replica that drains may have marked the message since it was put on hold: then its peer goes on with it. */
  async #recordEnd(
    { queueId }: QueuedMessage,
    deliveries: QueuedMessage['deliveries'],
    notice: SpawnedMessage | undefined,
    nowMs: number,
  ): Promise<Accepted | 'moving' | undefined> {
    const { spool } = this.#options;
    const outcomes = deliveries.map(({ id, attempts }) => ({
      ...{ delivery: id, attempts, remaining: [], dueMs: nowMs },
      unlessMoving: true,
    }));
    try {
      const [spawned] = await spool.record(outcomes, notice ? [notice] : []);
      return spawned;
    } catch (error) {
      const [steered] = await spool.steer('hold', [{ queueId }]);
      if (steered?.moving) return 'moving';
      throw error;
    }
  }

  async #notice(
    { queueId, envelope }: QueuedMessage,
    recipients: readonly Recipient[],
    nowMs: number,
  ): Promise<SpawnedMessage | undefined> {
    const { report, message, observer } = this.#options;
    const original = message({ queueId, envelope });
    try {
      const content = await original.inMemory();
      const headers = await original.headers();
      return report({ queueId, envelope, recipients, headers, ...(content && { content }), nowMs });
    } catch (error) {
      // Damaged content is a reason to get rid of a message, not to keep it.
      observer.log('error', 'Sender could not be told of a failure', { queueId, error: String(error) });
      return undefined;
    }
  }

  #tell(
    event: 'held' | 'released' | 'hurried' | 'returned' | 'removed',
    { queueId, deliveries }: QueuedMessage,
    by: string,
    dsn: { readonly dsn?: string } = {},
  ): void {
    const recipients = deliveries.flatMap((delivery) => delivery.recipients.map(({ address }) => address));
    this.#options.observer.message({ event, queueId, recipients, by, ...dsn });
  }
}

const selectionOf = ({ queueId, deliveries }: QueuedMessage) => ({
  queueId,
  destinations: deliveries.map(({ destination }) => destination),
});

function givenUp(recipient: Recipient): Recipient & { readonly lastReply: Reply } {
  const { lastReply } = recipient;
  const last = lastReply
    ? `; the last answer${lastReply.host ? ` of ${lastReply.host}` : ''} was: ${[lastReply.code, lastReply.enhanced, lastReply.text].filter(Boolean).join(' ')}`
    : '';
  return {
    ...recipient,
    state: 'bounced',
    lastReply: ownReply(554, '5.0.0', `the administrator of this relay gave the message up${last}`),
  };
}
