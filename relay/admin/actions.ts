/**
 * What a person does to queued mail. Where a message is to end it is put on hold first, in one commit with what is to
 * come of it: nothing starts an attempt from then on, and an attempt that is under way ends before the message does. A
 * kill in between leaves it so, and the next start ends it; one that is released meanwhile is not ended.
 */
import type { Deliverer, Failed } from '../deliver/deliverer.ts';
import type { Message } from '../deliver/message.ts';
import { ownReply } from '../deliver/reply.ts';
import type { Observer } from '../observe/events.ts';
import type { Envelope, Recipient, Reply } from '../spool/envelope.ts';
import {
  type Accepted,
  ChangeRefused,
  type Intended,
  type QueuedMessage,
  type SpawnedMessage,
  type Spool,
} from '../spool/spool.ts';
import type { ActionResult } from './shapes.ts';

export const ACTIONS = ['hold', 'release', 'retry', 'recall', 'bounce', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

type Result = ActionResult['messages'][number]['result'];

export interface ActionsOptions {
  readonly spool: Pick<Spool, 'steer' | 'show' | 'record' | 'intended'>;
  readonly deliverer: Pick<Deliverer, 'withdraw' | 'wakeAt' | 'enqueue' | 'letGo'>;
  readonly observer: Observer;
  /** The notice to a sender; undefined where none is due. */
  readonly report: (failed: Failed) => SpawnedMessage | undefined;
  readonly message: (of: { queueId: string; envelope: Envelope }) => Pick<Message, 'headers' | 'inMemory'>;
  /** Ids of spools of other replicas that answer. */
  readonly answering: () => ReadonlySet<string>;
  readonly now: () => number;
}

/** Most attempts end within it; the others go on, and what waits for them is done behind the answer. */
const WAIT_FOR_ATTEMPTS_MS = 2_000;
/** What could not be ended, such as for a full disk. */
const END_AGAIN_MS = 10_000;

export class Actions {
  readonly #options: ActionsOptions;
  /** What is being ended, or waits for an attempt. */
  readonly #ending = new Set<string>();
  #again: NodeJS.Timeout | undefined;

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
      case 'recall':
        return this.#recall(messages, by);
      case 'bounce':
      case 'delete':
        return this.#end(action, messages, by);
    }
  }

  /** Ends what was to be ended when the last process did, or could not be since. Never rejects. */
  async resume(): Promise<void> {
    const { spool, observer } = this.#options;
    this.#again = undefined;
    try {
      for (const intended of await spool.intended()) {
        if (!this.#ending.has(keyOf(intended))) await this.#finish(intended);
      }
    } catch (error) {
      observer.log('error', 'What is to be returned or deleted cannot be looked up; trying again', {
        error: String(error),
      });
      this.#tryAgain();
    }
  }

  #tryAgain(): void {
    if (this.#again) return;
    this.#again = setTimeout(() => void this.resume(), END_AGAIN_MS).unref();
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

  /**
   * For a message that moves to a spool which is lost: nothing but a person can know that. Where the spool answers, the
   * move itself ends.
   */
  async #recall(messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    const { spool, deliverer, answering } = this.#options;
    const spools = answering();
    const mayBe = ({ movesTo }: QueuedMessage): boolean => movesTo !== undefined && !spools.has(movesTo);
    const lost = messages.filter(mayBe);
    const steered = await spool.steer(
      'recall',
      lost.map(({ queueId }) => ({ queueId })),
    );
    const recalled = new Set(lost.filter((_, index) => (steered[index]?.changed ?? 0) > 0));
    for (const message of recalled) this.#tell('recalled', message, by);
    deliverer.letGo([...recalled].flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
    return messages.map((message) => {
      if (recalled.has(message)) return 'done';
      if (message.movesTo === undefined) return 'unchanged';
      return mayBe(message) ? 'gone' : 'moving';
    });
  }

  async #end(how: 'bounce' | 'delete', messages: readonly QueuedMessage[], by: string): Promise<readonly Result[]> {
    const { spool, deliverer } = this.#options;
    const steered = await spool.steer('hold', messages.map(selectionOf), { ending: { how, by } });
    const underWay = deliverer.withdraw(messages.map(selectionOf));
    return Promise.all(
      messages.map(async (message, index): Promise<Result> => {
        const { moving = false, intent } = steered[index] ?? {};
        if (moving) return 'moving';
        if (intent === undefined) return 'gone';
        const ending = this.#finish({ ...selectionOf(message), how, by, intent }, underWay.get(message.queueId));
        const late = new Promise<'attempting'>((resolve) => {
          setTimeout(() => resolve('attempting'), WAIT_FOR_ATTEMPTS_MS).unref();
        });
        return Promise.race([ending, late]);
      }),
    );
  }

  /** One that fails is tried again, and keeps no other from its end. Never rejects. */
  async #finish(intended: Intended, attempt?: Promise<void>): Promise<Result> {
    const { how: action, queueId } = intended;
    this.#ending.add(keyOf(intended));
    try {
      await attempt;
      return await (action === 'bounce' ? this.#bounce(intended) : this.#delete(intended));
    } catch (error) {
      const fields = { queueId, action, error: String(error) };
      this.#options.observer.log('error', 'A message could not be ended; it is on hold, and is tried again', fields);
      this.#tryAgain();
      return 'later';
    } finally {
      this.#ending.delete(keyOf(intended));
    }
  }

  async #delete({ queueId, destinations, intent, by }: Intended): Promise<Result> {
    const { spool } = this.#options;
    const message = await this.#left(queueId, destinations);
    const [steered] = await spool.steer('remove', [{ queueId, destinations }], { intent });
    if (!message || !steered || steered.changed === 0) return this.#notEnded(queueId, destinations);
    this.#tell('removed', message, by);
    return 'done';
  }

  /** What is left of the message is returned: an attempt that was under way may have delivered some of it. */
  async #bounce({ queueId, destinations, intent, by }: Intended): Promise<Result> {
    const { spool, deliverer, observer, now } = this.#options;
    const message = await this.#left(queueId, destinations);
    if (!message) return 'gone';
    const { deliveries, envelope } = message;
    const nowMs = now();
    const failed = deliveries.flatMap(({ recipients }) => recipients.map(givenUp));
    const notice = await this.#notice(message, failed, nowMs);
    const outcomes = deliveries.map(({ id, attempts }) => ({
      ...{ delivery: id, attempts, remaining: [], dueMs: nowMs, intent },
    }));
    let spawned: Accepted | undefined;
    try {
      [spawned] = await spool.record(outcomes, notice ? [notice] : []);
    } catch (error) {
      if (error instanceof ChangeRefused) return this.#notEnded(queueId, destinations);
      throw error;
    }
    const dsn = spawned && { dsn: spawned.queueId };
    this.#tell('returned', message, by, dsn);
    for (const { destination, attempts, recipients } of deliveries) {
      for (const recipient of recipients.map(givenUp)) {
        observer.message({
          event: 'bounced',
          queueId: message.queueId,
          recipient: recipient.address,
          destination,
          reply: recipient.lastReply,
          attempts,
          ageMs: nowMs - envelope.arrivedMs,
          ...dsn,
          by,
        });
      }
    }
    if (spawned) deliverer.enqueue(spawned);
    return 'done';
  }

  /** What the message still has for these destinations. */
  async #left(queueId: string, destinations: readonly string[]): Promise<QueuedMessage | undefined> {
    const message = await this.#options.spool.show(queueId);
    const deliveries = message?.deliveries.filter(({ destination }) => destinations.includes(destination)) ?? [];
    return message && deliveries.length > 0 ? { ...message, deliveries } : undefined;
  }

  /** It was released while its end was being prepared, or delivered. */
  async #notEnded(queueId: string, destinations: readonly string[]): Promise<Result> {
    return (await this.#left(queueId, destinations)) ? 'unchanged' : 'gone';
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
    event: 'held' | 'released' | 'hurried' | 'recalled' | 'returned' | 'removed',
    { queueId, deliveries }: QueuedMessage,
    by: string,
    dsn: { readonly dsn?: string } = {},
  ): void {
    const recipients = deliveries.flatMap((delivery) => delivery.recipients.map(({ address }) => address));
    this.#options.observer.message({ event, queueId, recipients, by, ...dsn });
  }
}

const keyOf = ({ queueId, intent }: Intended): string => `${intent} ${queueId}`;

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
