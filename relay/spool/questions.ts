/** The questions that a spool answers, as statements over what is committed. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { StoredContent, StoredDelivery, StoredMessage } from './requests.ts';
import { contentOf, deliveryRow, integerOf, type MessageRow, messageRow } from './rows.ts';
import type { PeerOf } from './search.ts';
import { SpoolDamage } from './spool.ts';

export class Questions {
  readonly #delivery: StatementSync;
  readonly #message: StatementSync;
  readonly #messages: StatementSync;
  readonly #deliveries: StatementSync;
  readonly #body: StatementSync;
  readonly #signature: StatementSync;
  readonly #oldest: StatementSync;
  readonly #inFile: StatementSync;
  readonly #peerOf: PeerOf;

  constructor(db: DatabaseSync, peerOf: PeerOf) {
    this.#peerOf = peerOf;
    this.#delivery = db.prepare('SELECT * FROM delivery WHERE id = ?');
    this.#message = db.prepare('SELECT * FROM message WHERE id = ?');
    this.#messages = db.prepare('SELECT * FROM message ORDER BY id LIMIT ?');
    this.#deliveries = db.prepare('SELECT * FROM delivery WHERE id >= ? AND id < ?');
    this.#body = db.prepare('SELECT content, crc FROM body WHERE message = ?');
    this.#signature = db.prepare('SELECT fields, crc FROM signature WHERE message = ?');
    this.#oldest = db.prepare(
      `SELECT CASE WHEN json_valid(envelope) THEN envelope ->> '$.arrivedMs' END AS arrived
       FROM message ORDER BY id LIMIT 1`,
    );
    this.#inFile = db.prepare('SELECT 1 FROM message WHERE id = ? AND file_bytes IS NOT NULL');
  }

  /** Deliveries with their envelopes. What is damaged is told and left out, so that it holds up no other. */
  deliveries(ids: readonly number[], onDamage: (id: number, error: SpoolDamage) => void): readonly StoredDelivery[] {
    return ids.flatMap((delivery) => {
      try {
        const columns = this.#delivery.get(delivery);
        if (!columns) throw new SpoolDamage(`delivery row ${delivery} is in the index and nowhere else`);
        const { id, message, destination, attempts, recipients } = deliveryRow(columns);
        const row = this.#messageRow(message);
        if (!row) throw new SpoolDamage(`delivery row ${id} belongs to message row ${message}, which is missing`);
        return [{ id, message, destination, attempts, recipients, envelope: row.envelope }];
      } catch (error) {
        if (!(error instanceof SpoolDamage)) throw error;
        onDamage(delivery, error);
        return [];
      }
    });
  }

  /** @throws {SpoolDamage} */
  read(id: number): StoredContent | undefined {
    const row = this.#messageRow(id);
    if (!row) return undefined;
    const signed = this.#signature.get(id);
    const signature = signed ? contentOf('signature', id, signed.fields, signed.crc) : undefined;
    if (row.file) return { id, signature, body: row.file };
    const stored = this.#body.get(id);
    if (!stored) throw new SpoolDamage(`message row ${id} has no body`);
    return { id, signature, body: contentOf('body', id, stored.content, stored.crc) };
  }

  /** Oldest first. */
  list(limit: number, onDamage: (error: SpoolDamage) => void): readonly StoredMessage[] {
    const messages: StoredMessage[] = [];
    for (const columns of this.#messages.all(limit)) {
      try {
        messages.push(this.#withDeliveries(messageRow(columns)));
      } catch (error) {
        if (!(error instanceof SpoolDamage)) throw error;
        onDamage(error);
      }
    }
    return messages;
  }

  /** @throws {SpoolDamage} */
  show(id: number): StoredMessage | undefined {
    const row = this.#messageRow(id);
    return row && this.#withDeliveries(row);
  }

  /**
   * Arrival of the message with the lowest id. Ids are given when a message's content begins, so this is the oldest but
   * for the time that a transfer takes.
   */
  oldestMs(): number | undefined {
    const arrived = this.#oldest.get()?.arrived;
    return typeof arrived === 'number' ? arrived : undefined;
  }

  hasBodyFile(id: number): boolean {
    return this.#inFile.get(id) !== undefined;
  }

  #messageRow(id: number): MessageRow | undefined {
    const columns = this.#message.get(id);
    return columns && messageRow(columns);
  }

  #withDeliveries(row: MessageRow): StoredMessage {
    const deliveries = this.#deliveries.all(row.firstDelivery, row.firstDelivery + row.deliveries).map((columns) => {
      const { id, destination, attempts, recipients } = deliveryRow(columns);
      return { id, destination, attempts, recipients, due: columns.due === null ? undefined : integerOf(columns.due) };
    });
    return { id: row.id, envelope: row.envelope, deliveries, peer: this.#peerOf(row.id) };
  }
}
