/**
 * Marks of messages that move to another spool (move.ts), in the database of the source. A marked delivery has no due
 * time, so nothing that looks for due mail finds it; the time is kept with the mark and goes to the peer.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Place } from './lanes.ts';
import type { Marked, Movable } from './move.ts';
import type { MarkedRow } from './requests.ts';
import { type DeliveryRow, deliveryRow, integerOf, messageRow, textOf } from './rows.ts';
import { SpoolDamage } from './spool.ts';

export class Departures {
  readonly #movable: StatementSync;
  readonly #message: StatementSync;
  readonly #deliveries: StatementSync;
  readonly #insert: StatementSync;
  readonly #unindex: StatementSync;
  readonly #after: StatementSync;
  readonly #get: StatementSync;
  readonly #delete: StatementSync;
  readonly #count: StatementSync;
  readonly #lowest: StatementSync;
  readonly #highest: StatementSync;
  readonly #moving: StatementSync;
  readonly #reindex: StatementSync;

  constructor(db: DatabaseSync) {
    // AUTOINCREMENT: the sequence number of a move that is over is not given again.
    db.exec(`CREATE TABLE IF NOT EXISTS moving (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      message INTEGER NOT NULL UNIQUE,
      peer TEXT NOT NULL,
      due TEXT NOT NULL
    ) STRICT`);
    this.#movable = db.prepare(
      `SELECT id, first_delivery, deliveries FROM message
       WHERE id > ? AND NOT EXISTS (SELECT 1 FROM moving WHERE moving.message = message.id) ORDER BY id LIMIT ?`,
    );
    this.#message = db.prepare('SELECT * FROM message WHERE id = ?');
    this.#deliveries = db.prepare('SELECT * FROM delivery WHERE id >= ? AND id < ?');
    this.#insert = db.prepare('INSERT INTO moving (message, peer, due) VALUES (?, ?, ?) RETURNING sequence');
    this.#unindex = db.prepare('UPDATE delivery SET due = NULL WHERE id = ?');
    this.#after = db.prepare(
      `SELECT sequence, peer, message, first_delivery, deliveries FROM moving LEFT JOIN message ON message.id = message
       WHERE sequence > ? ORDER BY sequence LIMIT ?`,
    );
    this.#get = db.prepare('SELECT * FROM moving WHERE sequence = ?');
    this.#delete = db.prepare('DELETE FROM moving WHERE sequence = ?');
    this.#count = db.prepare('SELECT count(*) AS n FROM moving');
    this.#lowest = db.prepare('SELECT min(sequence) AS lowest FROM moving WHERE peer = ?');
    this.#moving = db.prepare('SELECT sequence, peer, due FROM moving WHERE message = ?');
    this.#reindex = db.prepare('UPDATE delivery SET due = ? WHERE id = ?');
    this.#highest = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'moving'");
  }

  movable(afterId: number, limit: number): readonly Movable[] {
    return this.#movable.all(afterId, limit).map((columns) => {
      const rows = this.#rows(columns);
      return {
        id: integerOf(columns.id),
        deliveries: rows.map(({ id }) => integerOf(id)),
        inMemory: rows.filter(({ due }) => due === null).map(({ id }) => integerOf(id)),
      };
    });
  }

  /** undefined: it is gone, marked already, damaged, or has a delivery whose attempt the caller did not know of. */
  mark({ id, deliveries }: Movable, peer: string, nowMs: number): Marked | undefined {
    const columns = this.#message.get(id);
    if (!columns) return undefined;
    const due: Record<number, number> = {};
    const touched: DeliveryRow[] = [];
    try {
      messageRow(columns);
      for (const row of this.#rows(columns)) {
        const delivery = deliveryRow(row);
        if (!deliveries.includes(delivery.id)) return undefined;
        due[delivery.id] = row.due === null ? nowMs : integerOf(row.due);
        touched.push(delivery);
      }
    } catch (error) {
      if (error instanceof SpoolDamage) return undefined;
      throw error;
    }
    const inserted = this.#insert.get(id, peer, JSON.stringify(due));
    for (const delivery of touched) this.#unindex.run(delivery.id);
    return { sequence: integerOf(inserted?.sequence), deliveries: touched.map((row) => row.id), peer };
  }

  /** Messages that are marked. */
  count(): number {
    return integerOf(this.#count.get()?.n);
  }

  isMoving(message: number): boolean {
    return this.#moving.get(message) !== undefined;
  }

  /** The spool that a message moves to. */
  peerOf(message: number): string | undefined {
    const peer = this.#moving.get(message)?.peer;
    return peer === undefined ? undefined : textOf(peer);
  }

  /** Takes a mark back, for a spool that is lost: what move.ts says must never be done for one that may answer. */
  recall(message: number, nowMs: number): readonly Place[] {
    const mark = this.#moving.get(message);
    const columns = this.#message.get(message);
    if (!mark || !columns) return [];
    const due = dueTimesOr(nowMs, textOf(mark.due));
    const places = this.#rows(columns).map((row) => {
      const id = integerOf(row.id);
      const dueMs = due(id);
      this.#reindex.run(dueMs, id);
      return { destination: textOf(row.destination), dueMs };
    });
    this.#delete.run(integerOf(mark.sequence));
    return places;
  }

  marked(afterSequence: number, limit: number): readonly Marked[] {
    return this.#after.all(afterSequence, limit).map((columns) => ({
      sequence: integerOf(columns.sequence),
      peer: textOf(columns.peer),
      deliveries: columns.first_delivery === null ? [] : this.#rows(columns).map(({ id }) => integerOf(id)),
    }));
  }

  /** @throws {SpoolDamage} */
  read(sequence: number): MarkedRow | undefined {
    const mark = this.#get.get(sequence);
    if (!mark) return undefined;
    const message = integerOf(mark.message);
    const columns = this.#message.get(message);
    if (!columns) throw new SpoolDamage(`message row ${message} moves to another spool and is missing`);
    const due = dueTimes(message, textOf(mark.due));
    const deliveries = this.#rows(columns).map((row) => {
      const { id, destination, attempts, recipients } = deliveryRow(row);
      return { destination, attempts, recipients, due: integerOf(due[id]) };
    });
    return { message, envelope: messageRow(columns).envelope, deliveries };
  }

  /** Removes the mark; its deliveries are the caller's to finish. */
  finish(sequence: number): readonly number[] {
    const [marked] = this.marked(sequence - 1, 1);
    if (marked?.sequence !== sequence) return [];
    this.#delete.run(sequence);
    return marked.deliveries;
  }

  finishedUpTo(peer: string): number {
    const lowest = this.#lowest.get(peer)?.lowest ?? null;
    return lowest === null ? integerOf(this.#highest.get()?.seq ?? 0) : integerOf(lowest) - 1;
  }

  #rows({ first_delivery, deliveries }: Readonly<Record<string, unknown>>) {
    const first = integerOf(first_delivery);
    return this.#deliveries.all(first, first + integerOf(deliveries));
  }
}

/** By delivery; what the mark does not say, as when it is damaged, is due now. */
function dueTimesOr(nowMs: number, text: string): (delivery: number) => number {
  let times: Readonly<Record<string, unknown>> = {};
  try {
    times = dueTimes(0, text);
  } catch (error) {
    if (!(error instanceof SpoolDamage)) throw error;
  }
  return (delivery) => {
    const due = times[delivery];
    return typeof due === 'number' ? due : nowMs;
  };
}

/** By delivery. @throws {SpoolDamage} */
function dueTimes(message: number, text: string): Readonly<Record<string, unknown>> {
  try {
    const times: unknown = JSON.parse(text);
    if (typeof times === 'object' && times !== null) return { ...times };
  } catch {
    // Told below: what a parser says of it helps nobody.
  }
  throw new SpoolDamage(`the mark by which message row ${message} moves to another spool cannot be read`);
}
