/**
 * Looks through the whole queue, for a bounded time at a time: the writer thread commits in between, and no copy of the
 * queue is ever made. What comes and goes meanwhile may be seen or not; what stays is seen once.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { deliveryMatches, envelopeMatches, type QueueFilter, reasonOf } from './filter.ts';
import type { CountedRows, SearchedRows, StoredMessage } from './requests.ts';
import {
  type Columns,
  deliveryRow,
  integerOf,
  isHeld,
  type MessageRow,
  messageRow,
  parseEnvelope,
  parseRecipients,
} from './rows.ts';
import { SpoolDamage } from './spool.ts';
import { Tally } from './tally.ts';

/**
 * A busy replica comes back to a look every 10 to 30 ms: with a few milliseconds of looking each time a million messages
 * would take minutes. Commits wait for as long as this, while somebody looks.
 */
const SLICE_MS = 40;
/** Rows between looks at the clock; and where messages have very many recipients, some megabytes of them. */
const MESSAGES = 250;
const DELIVERIES = 250;
const RECIPIENTS_LENGTH = 2 * 1024 * 1024;

/** The spool that a message moves to. */
export type PeerOf = (message: number) => string | undefined;

export class Search {
  readonly #messages: StatementSync;
  readonly #deliveriesOf: StatementSync;
  readonly #deliveries: StatementSync;

  readonly #peerOf: PeerOf;
  readonly #monotonicMs: () => number;
  #tally = new Tally();

  constructor(db: DatabaseSync, peerOf: PeerOf, monotonicMs: () => number = () => performance.now()) {
    this.#peerOf = peerOf;
    this.#monotonicMs = monotonicMs;
    this.#messages = db.prepare('SELECT * FROM message WHERE id > ? ORDER BY id LIMIT ?');
    this.#deliveriesOf = db.prepare('SELECT * FROM delivery WHERE id >= ? AND id < ?');
    this.#deliveries = db.prepare(
      'SELECT id, destination, due, recipients FROM delivery WHERE id > ? ORDER BY id LIMIT ?',
    );
  }

  /** Messages with at least one delivery that matches, and of each those deliveries only. */
  search(filter: QueueFilter, afterId: number, limit: number, onDamage: (error: SpoolDamage) => void): SearchedRows {
    const untilMs = this.#monotonicMs() + SLICE_MS;
    const messages: StoredMessage[] = [];
    let lastId = afterId;
    let length = 0;
    let rows: readonly Columns[];
    do {
      rows = this.#messages.all(lastId, MESSAGES);
      for (const columns of rows) {
        lastId = integerOf(columns.id);
        const message = this.#matchingUnlessDamaged(filter, columns, onDamage);
        if (!message) continue;
        messages.push(message);
        for (const { recipients } of message.deliveries) length += recipients.length;
        if (messages.length === limit || length > RECIPIENTS_LENGTH) return { messages, nextId: lastId };
      }
    } while (rows.length === MESSAGES && this.#monotonicMs() < untilMs);
    return { messages, nextId: rows.length === MESSAGES ? lastId : undefined };
  }

  #matchingUnlessDamaged(
    filter: QueueFilter,
    columns: Columns,
    onDamage: (error: SpoolDamage) => void,
  ): StoredMessage | undefined {
    try {
      return this.#matching(filter, messageRow(columns));
    } catch (error) {
      if (!(error instanceof SpoolDamage)) throw error;
      onDamage(error);
      return undefined;
    }
  }

  #matching(filter: QueueFilter, row: MessageRow): StoredMessage | undefined {
    if (!envelopeMatches(filter, parseEnvelope(row.envelope))) return undefined;
    const peer = this.#peerOf(row.id);
    const moving = peer !== undefined;
    const deliveries = this.#deliveriesOf
      .all(row.firstDelivery, row.firstDelivery + row.deliveries)
      .flatMap((columns) => {
        const { id, destination, attempts, recipients } = deliveryRow(columns);
        const held = isHeld(columns.due);
        const parsed = { destination, attempts, held, moving, recipients: parseRecipients(recipients) };
        if (!deliveryMatches(filter, parsed)) return [];
        return [
          { id, destination, attempts, recipients, due: columns.due === null ? undefined : integerOf(columns.due) },
        ];
      });
    return deliveries.length === 0 ? undefined : { id: row.id, envelope: row.envelope, deliveries, peer };
  }

  /**
   * Counts on from where the call before ended; the counts come with the last one. They are kept here, since to hand
   * over those of each part takes longer than to count. One count at a time.
   */
  counts(afterId: number): CountedRows {
    const untilMs = this.#monotonicMs() + SLICE_MS;
    if (afterId === 0) this.#tally = new Tally();
    let lastId = afterId;
    let rows: readonly Columns[];
    do {
      rows = this.#deliveries.all(lastId, DELIVERIES);
      for (const columns of rows) {
        lastId = integerOf(columns.id);
        const { destination, recipients } = columns;
        // Counting is no place to check crcs; what is not even text is left out.
        if (typeof destination !== 'string' || typeof recipients !== 'string') continue;
        const held = isHeld(columns.due);
        for (const { lastReply } of parseRecipients(recipients)) {
          this.#tally.add(destination, reasonOf(lastReply), held);
        }
      }
    } while (rows.length === DELIVERIES && this.#monotonicMs() < untilMs);
    if (rows.length === DELIVERIES) return { nextId: lastId };
    const counts = this.#tally.counts();
    this.#tally = new Tally();
    return { counts };
  }
}
