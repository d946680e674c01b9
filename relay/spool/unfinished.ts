/**
 * Finds deliveries that were in memory when the last process ended: they have no due time, so no index tells of them.
 * They are looked for from the newest on, some at a time: nearly all are among the newest, and a long queue is not looked
 * through before its first delivery. What is new since the start has higher ids than any of them.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Place } from './lanes.ts';
import { integerOf, textOf } from './rows.ts';

/** Looked through while the spool opens; some 20 ms. */
export const LOOKED_AT_FIRST = 50_000;
/** Some 2 ms, between other work. */
export const LOOKED_AT_ONCE = 2_000;

export class Unfinished {
  readonly #find: StatementSync;
  readonly #highest: StatementSync;

  constructor(db: DatabaseSync) {
    // What moves to another spool is that one's, or will be.
    this.#find = db.prepare(
      `UPDATE delivery SET due = ? WHERE id > ? AND id <= ? AND due IS NULL
       AND message NOT IN (SELECT message FROM moving) RETURNING destination`,
    );
    this.#highest = db.prepare('SELECT max(id) AS id FROM delivery WHERE id <= ?');
  }

  /**
   * @param upToId of deliveries
   * @returns those found, which are due now; and where to look next, absent at the end
   */
  look(upToId: number, ids: number, dueMs: number): { places: readonly Place[]; next: number | undefined } {
    const afterId = upToId - ids;
    const places = this.#find
      .all(dueMs, afterId, upToId)
      .map(({ destination }) => ({ destination: textOf(destination), dueMs }));
    const next = this.#highest.get(afterId)?.id ?? null;
    return { places, next: next === null ? undefined : integerOf(next) };
  }
}
