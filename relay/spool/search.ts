/**
 * Looks through the whole queue, a bounded number of rows at a time: the writer thread commits in between, and no copy
 * of the queue is ever made. What comes and goes meanwhile may be seen or not; what stays is seen once.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { deliveryMatches, envelopeMatches, type QueueFilter, reasonOf } from './filter.ts';
import type { CountedRows, SearchedRows, StoredMessage } from './requests.ts';
import { deliveryRow, integerOf, isHeld, type MessageRow, messageRow, parseEnvelope, parseRecipients } from './rows.ts';
import { SpoolDamage } from './spool.ts';

/** Some milliseconds; and where messages have very many recipients, some megabytes. */
const MESSAGES = 250;
const DELIVERIES = 1_000;
const RECIPIENTS_LENGTH = 2 * 1024 * 1024;

export class Search {
  readonly #messages: StatementSync;
  readonly #deliveriesOf: StatementSync;
  readonly #deliveries: StatementSync;

  constructor(db: DatabaseSync) {
    this.#messages = db.prepare('SELECT * FROM message WHERE id > ? ORDER BY id LIMIT ?');
    this.#deliveriesOf = db.prepare('SELECT * FROM delivery WHERE id >= ? AND id < ?');
    this.#deliveries = db.prepare(
      'SELECT id, destination, due, attempts, recipients FROM delivery WHERE id > ? ORDER BY id LIMIT ?',
    );
  }

  /** Messages with at least one delivery that matches, and of each those deliveries only. */
  search(filter: QueueFilter, afterId: number, limit: number, onDamage: (error: SpoolDamage) => void): SearchedRows {
    const messages: StoredMessage[] = [];
    const rows = this.#messages.all(afterId, MESSAGES);
    let lastId = afterId;
    let length = 0;
    for (const columns of rows) {
      lastId = integerOf(columns.id);
      try {
        const message = this.#matching(filter, messageRow(columns));
        if (!message) continue;
        messages.push(message);
        for (const { recipients } of message.deliveries) length += recipients.length;
        if (messages.length === limit || length > RECIPIENTS_LENGTH) return { messages, nextId: lastId };
      } catch (error) {
        if (!(error instanceof SpoolDamage)) throw error;
        onDamage(error);
      }
    }
    return { messages, nextId: rows.length === MESSAGES ? lastId : undefined };
  }

  #matching(filter: QueueFilter, row: MessageRow): StoredMessage | undefined {
    if (!envelopeMatches(filter, parseEnvelope(row.envelope))) return undefined;
    const deliveries = this.#deliveriesOf
      .all(row.firstDelivery, row.firstDelivery + row.deliveries)
      .flatMap((columns) => {
        const { id, destination, attempts, recipients } = deliveryRow(columns);
        const held = isHeld(columns.due);
        const parsed = { destination, attempts, held, recipients: parseRecipients(recipients) };
        if (!deliveryMatches(filter, parsed)) return [];
        return [
          { id, destination, attempts, recipients, due: columns.due === null ? undefined : integerOf(columns.due) },
        ];
      });
    return deliveries.length === 0 ? undefined : { id: row.id, envelope: row.envelope, deliveries };
  }

  counts(afterId: number): CountedRows {
    const counted = new Map<string, { destination: string; reason: string; recipients: number; held: number }>();
    const rows = this.#deliveries.all(afterId, DELIVERIES);
    let lastId = afterId;
    for (const columns of rows) {
      lastId = integerOf(columns.id);
      const { destination, recipients } = columns;
      // Counting is no place to check crcs; what is not even text is left out.
      if (typeof destination !== 'string' || typeof recipients !== 'string') continue;
      const held = isHeld(columns.due);
      for (const { lastReply } of parseRecipients(recipients)) {
        const reason = reasonOf(lastReply);
        const key = `${destination}\n${reason}`;
        const count = counted.get(key) ?? { destination, reason, recipients: 0, held: 0 };
        counted.set(key, count);
        count.recipients += 1;
        if (held) count.held += 1;
      }
    }
    return { counts: [...counted.values()], nextId: rows.length === DELIVERIES ? lastId : undefined };
  }
}
