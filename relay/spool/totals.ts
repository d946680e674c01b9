/**
 * How many messages and deliveries there are: kept in the database, in the transaction of whatever changes them. To count
 * a million rows at each start would keep their mail waiting, for seconds where the disk is slow.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { integerOf } from './rows.ts';

export interface Total {
  readonly messages: number;
  readonly deliveries: number;
}

/** A database that is made of what is readable counts anew (salvage.ts). */
export const TOTAL_TABLE = 'total';

export class Totals {
  readonly #get: StatementSync;
  readonly #add: StatementSync;
  readonly #count: string;
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec(
      `CREATE TABLE IF NOT EXISTS ${TOTAL_TABLE} (messages INTEGER NOT NULL, deliveries INTEGER NOT NULL) STRICT`,
    );
    this.#get = db.prepare(`SELECT messages, deliveries FROM ${TOTAL_TABLE}`);
    this.#add = db.prepare(`UPDATE ${TOTAL_TABLE} SET messages = messages + ?, deliveries = deliveries + ?`);
    this.#count = `INSERT INTO ${TOTAL_TABLE} SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM delivery)`;
    if (!this.#get.get()) db.exec(this.#count);
  }

  /** Rows may have gone in other ways than by a change. */
  recount(): void {
    this.#db.exec(`BEGIN; DELETE FROM ${TOTAL_TABLE}; ${this.#count}; COMMIT`);
  }

  get(): Total {
    const row = this.#get.get();
    return { messages: integerOf(row?.messages), deliveries: integerOf(row?.deliveries) };
  }

  /** Part of the transaction of these changes. */
  add(changes: readonly Total[]): void {
    let messages = 0;
    let deliveries = 0;
    for (const change of changes) {
      messages += change.messages;
      deliveries += change.deliveries;
    }
    if (messages !== 0 || deliveries !== 0) this.#add.run(messages, deliveries);
  }
}
