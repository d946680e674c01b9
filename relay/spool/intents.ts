/**
 * What a person wants to come of deliveries that are on hold: that they are returned, or deleted. It stands in the
 * commit that puts them on hold, so it outlives a kill while an attempt is under way, and goes with the delivery, or when
 * that is released. Whoever ends a delivery names the intent: one that was released meanwhile is not ended.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { IntendedRow } from './requests.ts';
import { integerOf, textOf } from './rows.ts';
import type { Ending } from './spool.ts';

export class Intents {
  readonly #insert: StatementSync;
  readonly #drop: StatementSync;
  readonly #stands: StatementSync;
  readonly #page: StatementSync;
  #next: number;
  /** There may be some: mostly there are none, and then no delivery has to be asked for. */
  #some: boolean;

  constructor(db: DatabaseSync) {
    db.exec(`CREATE TABLE IF NOT EXISTS intent (
      delivery INTEGER PRIMARY KEY,
      number INTEGER NOT NULL,
      how TEXT NOT NULL,
      by TEXT NOT NULL
    ) STRICT`);
    this.#insert = db.prepare('INSERT OR REPLACE INTO intent (delivery, number, how, by) VALUES (?, ?, ?, ?)');
    this.#drop = db.prepare('DELETE FROM intent WHERE delivery = ?');
    this.#stands = db.prepare('SELECT number FROM intent WHERE delivery = ?');
    this.#page = db.prepare(
      `SELECT intent.delivery, number, how, by, message, destination FROM intent, delivery
       WHERE delivery.id = intent.delivery AND intent.delivery > ? ORDER BY intent.delivery LIMIT ?`,
    );
    const last = db.prepare('SELECT max(number) AS last FROM intent').get()?.last ?? null;
    this.#some = last !== null;
    this.#next = last === null ? 1 : integerOf(last) + 1;
  }

  /** A number that names what is wanted now. */
  begin(): number {
    this.#some = true;
    return this.#next++;
  }

  set(delivery: number, number: number, { how, by }: Ending): void {
    this.#insert.run(delivery, number, how, by);
  }

  drop(delivery: number): void {
    if (this.#some) this.#drop.run(delivery);
  }

  /** Of the delivery; undefined: nothing is wanted. */
  of(delivery: number): number | undefined {
    const number = this.#some ? this.#stands.get(delivery)?.number : undefined;
    return number === undefined ? undefined : integerOf(number);
  }

  page(afterDelivery: number, limit: number): readonly IntendedRow[] {
    return this.#page.all(afterDelivery, limit).map(({ delivery, number, how, by, message, destination }) => ({
      delivery: integerOf(delivery),
      intent: integerOf(number),
      how: how === 'bounce' ? 'bounce' : 'delete',
      by: textOf(by),
      message: integerOf(message),
      destination: textOf(destination),
    }));
  }
}
