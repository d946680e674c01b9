/**
 * Makes a long queue of a short one, of which every message is copied again and again: each copy has ids, a sender and
 * destinations of its own, and is in the state of its original. A million messages are there in minutes, where the spool
 * itself would take an hour on a busy machine. The spool must be closed.
 */
import type { DatabaseSync } from 'node:sqlite';
import { openDatabase } from '../../../relay/spool/database.ts';
import { contentCrc, deliveryCrc, deliveryRow, integerOf, messageCrc, messageRow } from '../../../relay/spool/rows.ts';

/** What a number is moved on by in each copy, so that copies share neither senders nor destinations. */
const STEP = 7_919;

export interface Population {
  readonly senders: number;
  readonly domains: number;
}

/** Copies all messages until there are so many. */
export async function copyUntil(folder: string, messages: number, population: Population): Promise<void> {
  const { db } = await openDatabase(folder, 0, {
    onWait: () => undefined,
    beforeCreate: () => {
      throw new Error(`there is no queue in ${folder}`);
    },
  });
  // Nothing is lost where it breaks off: the folder is removed then.
  db.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000');
  new Copies(db, population).make(messages);
  db.exec('PRAGMA synchronous = FULL');
  db.close();
}

class Copies {
  readonly #db: DatabaseSync;
  readonly #population: Population;

  constructor(db: DatabaseSync, population: Population) {
    this.#db = db;
    this.#population = population;
  }

  make(messages: number): void {
    const db = this.#db;
    const span = this.#highest('message');
    const deliverySpan = this.#highest('delivery');
    let total = this.#count('message');
    db.exec('BEGIN');
    for (let copy = 1; total < messages; copy += 1) {
      total += this.#copy(copy, span, deliverySpan, messages - total);
    }
    db.prepare('UPDATE meta SET reserved_id = max(reserved_id, ?)').run(this.#highest('message'));
    db.prepare('UPDATE total SET messages = ?, deliveries = ?').run(this.#count('message'), this.#count('delivery'));
    db.exec('COMMIT');
  }

  /** @returns messages made */
  #copy(copy: number, span: number, deliverySpan: number, limit: number): number {
    const db = this.#db;
    const originals = db.prepare(
      'SELECT message.*, body.content FROM message, body WHERE body.message = id AND id <= ? ORDER BY id LIMIT ?',
    );
    const deliveries = db.prepare('SELECT * FROM delivery WHERE id >= ? AND id < ?');
    const insertMessage = db.prepare(
      'INSERT INTO message (id, first_delivery, deliveries, envelope, crc) VALUES (?, ?, ?, ?, ?)',
    );
    const insertBody = db.prepare('INSERT INTO body (message, content, crc) VALUES (?, ?, ?)');
    const insertDelivery = db.prepare(
      `INSERT INTO delivery (id, message, destination, sender, due, attempts, recipients, crc)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    const nowMs = Date.now();
    let made = 0;
    for (const { content, ...columns } of originals.iterate(span, limit)) {
      const original = messageRow(columns);
      if (!(content instanceof Uint8Array)) throw new Error('a body is missing');
      const message = {
        ...original,
        id: original.id + copy * span,
        firstDelivery: original.firstDelivery + copy * deliverySpan,
        envelope: this.#moved(original.envelope, copy),
      };
      insertMessage.run(message.id, message.firstDelivery, message.deliveries, message.envelope, messageCrc(message));
      insertBody.run(message.id, content, contentCrc(message.id, content));
      const end = original.firstDelivery + original.deliveries;
      for (const row of deliveries.all(original.firstDelivery, end)) {
        const delivery = deliveryRow(row);
        const moved = {
          ...delivery,
          id: delivery.id + copy * deliverySpan,
          message: message.id,
          destination: this.#moved(delivery.destination, copy),
          sender: this.#moved(delivery.sender, copy),
          recipients: this.#moved(delivery.recipients, copy),
        };
        // What was in memory is so no more.
        const due = row.due === null ? nowMs : integerOf(row.due);
        const { id, destination, sender, attempts, recipients } = moved;
        insertDelivery.run(id, message.id, destination, sender, due, attempts, recipients, deliveryCrc(moved));
      }
      made += 1;
    }
    return made;
  }

  /** Another sender in the place of `app1.default`, another domain in that of `d1.bench.test`. */
  #moved(text: string, copy: number): string {
    const { senders, domains } = this.#population;
    return text
      .replaceAll(/\bapp(\d+)\.default\b/g, (_, number) => `app${(Number(number) + copy * STEP) % senders}.default`)
      .replaceAll(/\bd(\d+)\.bench\.test\b/g, (_, number) => `d${(Number(number) + copy * STEP) % domains}.bench.test`);
  }

  #highest(table: 'message' | 'delivery'): number {
    return integerOf(this.#db.prepare(`SELECT max(id) AS id FROM ${table}`).get()?.id);
  }

  #count(table: 'message' | 'delivery'): number {
    return integerOf(this.#db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n);
  }
}
