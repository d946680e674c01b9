/** Opens the spool of a folder: the durable queue of one relay process. */
import { Bodies, IN_ROW_BYTES } from './bodies.ts';
import type { BodyWriter } from './body-file.ts';
import type { Condition } from './condition.ts';
import type { Envelope } from './envelope.ts';
import type { QueueFilter } from './filter.ts';
import type { Hasten } from './hasten.ts';
import { SpoolIntake } from './intake.ts';
import type { Moves } from './move.ts';
import { formatQueueId, parseQueueId, rowName } from './queue-id.ts';
import type { Answers, NewMessage, Opened, StoredDelivery, StoredMessage } from './requests.ts';
import { HELD_FROM, isHeld, parseEnvelope, parseRecipients } from './rows.ts';
import {
  type Accepted,
  type Content,
  type DueDestination,
  type DueDestinations,
  type Intake,
  type IntakeBounds,
  type Intended,
  type NewDelivery,
  type Outcome,
  type QueueCounts,
  type QueuedDelivery,
  type QueuedMessage,
  type QueuePage,
  type Requeued,
  type Selection,
  type SpawnedMessage,
  type Spool,
  type SpoolHealth,
  type SpoolStats,
  SpoolUnavailable,
  type Steered,
  type Steering,
  type SteerOptions,
  type Taken,
  type Usage,
  type Wish,
} from './spool.ts';
import { type Log, RESERVED_IDS } from './storage.ts';
import { bufferOver, newMessage } from './stored-form.ts';
import { CommitInDoubt, WriterThread } from './thread.ts';
import { ThreadMoves } from './thread-moves.ts';

export interface SpoolOptions {
  /** Made with mode 0700 where it is missing. */
  readonly folder: string;
  /** How long to wait for another process to let go of the folder, in ms; 0 fails at once. */
  readonly lockWaitMs: number;
  readonly log: Log;
  /** An fsync failed or the writer thread died: the process must end now, and not answer 250 on the way. */
  readonly onFatal: (error: Error) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Every delivery that was in memory when the last process ended is due at once; of a long queue, when it is found (see
 * Spool.requeue).
 *
 * @throws {SpoolDamage} when the folder tells of mail that the database does not have.
 * @throws {SpoolUnavailable} when another process holds the folder, or a newer version wrote it.
 */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { folder, lockWaitMs, log, onFatal, now } = options;
  const { thread, opened, condition } = await WriterThread.start({ folder, lockWaitMs, openedMs: now() }, log, onFatal);
  const bodies = await Bodies.open({
    folder,
    spoolId: opened.spoolId,
    onFatal,
    onWritable: (failure) => {
      condition.bodies = failure;
    },
  });
  return new ThreadedSpool({ thread, opened, bodies, condition, now });
}

const INTENDED_ROWS = 1_000;

interface Parts {
  readonly thread: WriterThread;
  readonly opened: Opened;
  readonly bodies: Bodies;
  readonly condition: Condition;
  readonly now: () => number;
}

class ThreadedSpool implements Spool {
  readonly spoolId: string;
  readonly moves: Moves;
  readonly #thread: WriterThread;
  #counting: Promise<QueueCounts> | undefined;
  readonly #bodies: Bodies;
  readonly #condition: Condition;
  readonly #now: () => number;
  #nextId: number;
  #reservedId: number;
  #reserving = false;
  #requeueUpTo: number | undefined;

  constructor({ thread, opened, bodies, condition, now }: Parts) {
    this.spoolId = opened.spoolId;
    this.#thread = thread;
    this.#bodies = bodies;
    this.#condition = condition;
    this.#now = now;
    this.#nextId = opened.nextId;
    this.#reservedId = opened.reservedId;
    this.#requeueUpTo = opened.requeueUpTo;
    this.moves = new ThreadMoves({ spoolId: this.spoolId, thread, bodies, allocate: () => this.#allocate(), now });
  }

  bound(bounds: IntakeBounds): void {
    this.#condition.bounds = bounds;
  }

  health(): SpoolHealth {
    return this.#condition.health;
  }

  open(): Intake {
    this.#condition.check();
    const id = this.#allocate();
    return new SpoolIntake(formatQueueId(this.spoolId, id), id, this.#bodies, (body, envelope, deliveries, usage) =>
      this.#accept(id, body, envelope, deliveries, usage),
    );
  }

  destinations(nowMs: number, limit: number, after?: DueDestination): Promise<DueDestinations> {
    return this.#thread.request<'destinations'>({ kind: 'destinations', nowMs, limit, after });
  }

  async take(destination: string, wish: Wish): Promise<Taken> {
    const taken = await this.#thread.request<'take'>({ kind: 'take', destination, ...wish });
    return { ...taken, deliveries: taken.deliveries.flatMap((row) => this.#delivery(row)) };
  }

  /** None where it cannot be understood: it stays in hand, and holds up no other that was taken with it. */
  #delivery({ id, message, destination, attempts, ...row }: StoredDelivery): readonly QueuedDelivery[] {
    try {
      const envelope = parseEnvelope(row.envelope);
      const queueId = envelope.queueId ?? formatQueueId(this.spoolId, message);
      return [{ id, queueId, destination, envelope, attempts, recipients: parseRecipients(row.recipients) }];
    } catch (error) {
      this.#condition.leaveOut(id, error);
      return [];
    }
  }

  async giveBack(deliveries: readonly number[]): Promise<void> {
    await this.#thread.request<'giveBack'>({ kind: 'giveBack', deliveries });
  }

  async read(queueId: string): Promise<Content> {
    const stored = await this.#thread.request<'read'>({ kind: 'read', id: rowName(this.spoolId, queueId) });
    if (!stored) throw new Error(`message ${queueId} is not in the queue`);
    const { id, signature, body } = stored;
    return {
      signature: signature && bufferOver(signature),
      data: body instanceof Uint8Array ? bufferOver(body) : this.#bodies.content(id, body),
    };
  }

  async park(deliveries: readonly number[]): Promise<void> {
    await this.#thread.request<'park'>({ kind: 'park', deliveries, dueMs: this.#now() });
  }

  async hasten(by: Hasten): Promise<void> {
    if ((await this.#thread.request<'latest'>({ kind: 'latest' })) <= by.afterMs) return;
    for (let afterId: number | undefined = 0; afterId !== undefined; ) {
      const { next }: Answers['hasten'] = await this.#thread.request<'hasten'>({ kind: 'hasten', by, afterId });
      afterId = next;
    }
  }

  async requeue(): Promise<Requeued> {
    const upToId = this.#requeueUpTo;
    if (upToId === undefined) return { deliveries: 0, more: false };
    const { found, next } = await this.#thread.request<'requeue'>({ kind: 'requeue', upToId, dueMs: this.#now() });
    this.#requeueUpTo = next;
    return { deliveries: found, more: next !== undefined };
  }

  async record(outcomes: readonly Outcome[], spawned: readonly SpawnedMessage[]): Promise<readonly Accepted[]> {
    const files: BodyWriter[] = [];
    try {
      const messages = await Promise.all(spawned.map((message) => this.#spawn(message, files)));
      const committed = await this.#thread.request<'record'>({
        kind: 'record',
        outcomes: outcomes.map(({ delivery, attempts, remaining, dueMs, signature, intent }) => ({
          delivery,
          attempts,
          recipients: remaining.length === 0 ? undefined : JSON.stringify(remaining),
          dueMs: Math.round(dueMs),
          signature,
          intent,
        })),
        spawned: messages,
      });
      return spawned.map(({ envelope, content, deliveries }, index) => {
        const { id, body } = elementOf(messages, index);
        const data = body instanceof Uint8Array ? content : this.#bodies.content(id, body);
        return this.#accepted(id, data, envelope, deliveries, elementOf(committed.firstDeliveries, index));
      });
    } catch (error) {
      if (!(error instanceof CommitInDoubt)) await Promise.all(files.map((file) => this.#bodies.discard(file)));
      throw error;
    }
  }

  async list(limit: number): Promise<readonly QueuedMessage[]> {
    const messages = await this.#thread.request<'list'>({ kind: 'list', limit });
    return messages.map((message) => this.#queued(message));
  }

  async show(queueId: string): Promise<QueuedMessage | undefined> {
    const message = await this.#thread.request<'show'>({ kind: 'show', id: rowName(this.spoolId, queueId) });
    return message && this.#queued(message);
  }

  async search(filter: QueueFilter, after: string | undefined, limit: number): Promise<QueuePage> {
    const afterId = after === undefined ? 0 : (parseQueueId(this.spoolId, after) ?? 0);
    const { messages, nextId } = await this.#thread.request<'search'>({ kind: 'search', filter, afterId, limit });
    const page = { messages: messages.map((message) => this.#queued(message)) };
    return nextId === undefined ? page : { ...page, next: formatQueueId(this.spoolId, nextId) };
  }

  /** Whoever asks while a count goes on gets the same one: to count a million rows is work of seconds. */
  counts(): Promise<QueueCounts> {
    this.#counting ??= this.#count().finally(() => {
      this.#counting = undefined;
    });
    return this.#counting;
  }

  async #count(): Promise<QueueCounts> {
    for (let afterId = 0; ; ) {
      const part: Answers['counts'] = await this.#thread.request<'counts'>({ kind: 'counts', afterId });
      if (part.counts !== undefined) return part.counts;
      afterId = part.nextId;
    }
  }

  async steer(
    action: Steering,
    selections: readonly Selection[],
    { ending, intent }: SteerOptions = {},
  ): Promise<readonly Steered[]> {
    const { steered } = await this.#thread.request<'steer'>({
      kind: 'steer',
      action,
      selections: selections.map(({ queueId, destinations }) => ({
        message: rowName(this.spoolId, queueId),
        destinations,
      })),
      nowMs: this.#now(),
      ending,
      intent,
    });
    return steered;
  }

  async intended(): Promise<readonly Intended[]> {
    const found = new Map<string, Intended>();
    for (let afterDelivery = 0; ; ) {
      const rows: Answers['intended'] = await this.#thread.request<'intended'>({
        ...{ kind: 'intended', afterDelivery, limit: INTENDED_ROWS },
      });
      for (const { message, destination, intent, how, by } of rows) {
        const key = `${intent} ${message}`;
        const destinations = [...(found.get(key)?.destinations ?? []), destination];
        // The one that the spool knows it by; another spool's is found by `show`.
        found.set(key, { queueId: formatQueueId(this.spoolId, message), destinations, intent, how, by });
      }
      const last = rows.at(-1);
      if (!last || rows.length < INTENDED_ROWS) return [...found.values()];
      afterDelivery = last.delivery;
    }
  }

  stats(): Promise<SpoolStats> {
    return this.#thread.request<'stats'>({ kind: 'stats' });
  }

  usage(): Promise<readonly Usage[]> {
    return this.#thread.request<'usage'>({ kind: 'usage' });
  }

  async close(): Promise<void> {
    await this.#thread.close();
    await this.#bodies.close();
  }

  /** The main thread is the only one that gives out ids, so a message has its queue id before anything is stored. */
  #allocate(): number {
    if (this.#reservedId - this.#nextId < RESERVED_IDS / 2 && !this.#reserving) void this.#reserve();
    if (this.#nextId > this.#reservedId) throw new SpoolUnavailable('the disk does not keep up with new mail');
    return this.#nextId++;
  }

  async #reserve(): Promise<void> {
    this.#reserving = true;
    const upToId = this.#reservedId + RESERVED_IDS;
    try {
      await this.#thread.request<'reserve'>({ kind: 'reserve', upToId });
      this.#reservedId = upToId;
    } catch {
      // The next message tries again; half of the reserve is left until then.
    }
    this.#reserving = false;
  }

  async #accept(
    id: number,
    body: NewMessage['body'],
    envelope: Envelope,
    deliveries: readonly NewDelivery[],
    usage: Usage | undefined,
  ): Promise<Accepted> {
    const message = newMessage(id, body, envelope, deliveries);
    const { firstDeliveries } = await this.#thread.request<'accept'>({ kind: 'accept', message, usage });
    this.#condition.took(envelope.sizeBytes);
    const data = body instanceof Uint8Array ? bufferOver(body) : this.#bodies.content(id, body);
    return this.#accepted(id, data, envelope, deliveries, elementOf(firstDeliveries, 0));
  }

  async #spawn({ envelope, content, deliveries }: SpawnedMessage, files: BodyWriter[]): Promise<NewMessage> {
    const id = this.#allocate();
    if (content.length <= IN_ROW_BYTES) {
      // A copy in an ArrayBuffer of its own.
      const copy = Buffer.allocUnsafeSlow(content.length);
      content.copy(copy);
      return newMessage(id, copy, envelope, deliveries);
    }
    const { writer, info } = await this.#bodies.store(id, content);
    files.push(writer);
    return newMessage(id, info, envelope, deliveries);
  }

  #accepted(
    id: number,
    data: Content['data'],
    envelope: Envelope,
    deliveries: readonly NewDelivery[],
    firstDelivery: number,
  ): Accepted {
    const queueId = formatQueueId(this.spoolId, id);
    return {
      queueId,
      content: { signature: undefined, data },
      deliveries: deliveries.map(({ destination, recipients }, index) => ({
        id: firstDelivery + index,
        queueId,
        destination,
        envelope,
        attempts: 0,
        recipients,
      })),
    };
  }

  #queued({ id, envelope: text, deliveries, peer }: StoredMessage): QueuedMessage {
    const envelope = parseEnvelope(text);
    return {
      queueId: envelope.queueId ?? formatQueueId(this.spoolId, id),
      envelope,
      ...(peer !== undefined && { movesTo: peer }),
      deliveries: deliveries.map(({ id: delivery, destination, attempts, due, recipients }) => ({
        id: delivery,
        destination,
        attempts,
        recipients: parseRecipients(recipients),
        ...(isHeld(due) ? { heldMs: due - HELD_FROM } : due !== undefined && { dueMs: due }),
      })),
    };
  }
}

function elementOf<T>(list: readonly T[], index: number): T {
  const element = list[index];
  if (element === undefined) throw new Error('the writer answered for fewer messages than it was given');
  return element;
}
