/** Brings deliveries forward that wait for a moment of a clock which is no longer the time of day. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Place } from './lanes.ts';
import { HELD_FROM, textOf } from './rows.ts';

export interface Hasten {
  readonly nowMs: number;
  /** What is due at this moment or before stays as it is. */
  readonly afterMs: number;
  /** What is due later is due so much earlier, but not before now. */
  readonly byMs: number;
}

export class Hastening {
  readonly #destinations: StatementSync;
  readonly #hasten: StatementSync;

  constructor(db: DatabaseSync) {
    this.#destinations = db.prepare(
      `SELECT DISTINCT destination FROM delivery WHERE due IS NOT NULL AND due > ? AND due < ${HELD_FROM}`,
    );
    this.#hasten = db.prepare(
      `UPDATE delivery SET due = max(?, due - ?) WHERE due IS NOT NULL AND due > ? AND due < ${HELD_FROM}`,
    );
  }

  /** @returns destinations of which something is due earlier, with a time before which none of it is */
  apply({ nowMs, afterMs, byMs }: Hasten): readonly Place[] {
    const places = this.#destinations
      .all(afterMs)
      .map(({ destination }) => ({ destination: textOf(destination), dueMs: nowMs }));
    if (places.length > 0) this.#hasten.run(nowMs, byMs, afterMs);
    return places;
  }
}
