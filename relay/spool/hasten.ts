/** Brings deliveries forward that wait for a moment of a clock which is no longer the time of day. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Place } from './lanes.ts';
import { HELD_FROM, integerOf, textOf } from './rows.ts';

export interface Hasten {
  readonly nowMs: number;
  /** What is due at this moment or before stays as it is. */
  readonly afterMs: number;
  /** What is due later is due so much earlier, but not before now. */
  readonly byMs: number;
}

/**
 * Deliveries looked at in one transaction: half of a queue of a million in one took half a minute, and all the memory
 * that its pages need. What is deferred meanwhile may be brought forward too, and is tried early, once.
 */
const AT_ONCE = 1_000;

export class Hastening {
  readonly #hasten: StatementSync;
  readonly #next: StatementSync;

  constructor(db: DatabaseSync) {
    this.#hasten = db.prepare(
      `UPDATE delivery SET due = max(?, due - ?) WHERE id > ? AND id <= ? AND due > ? AND due < ${HELD_FROM}
       RETURNING destination, due`,
    );
    this.#next = db.prepare('SELECT min(id) AS id FROM delivery WHERE id > ?');
  }

  /**
   * @param afterId looks at deliveries that follow this one
   * @returns what is due earlier; and after which delivery to go on, absent at the end
   */
  apply(
    { nowMs, afterMs, byMs }: Hasten,
    afterId: number,
    ids = AT_ONCE,
  ): { places: readonly Place[]; next: number | undefined } {
    const upToId = afterId + ids;
    const places = this.#hasten
      .all(nowMs, byMs, afterId, upToId, afterMs)
      .map(({ destination, due }) => ({ destination: textOf(destination), dueMs: integerOf(due) }));
    const following = this.#next.get(upToId)?.id ?? null;
    return { places, next: following === null ? undefined : integerOf(following) - 1 };
  }
}
