/**
 * Looks through a queue that is too large to be checked before the start (integrity.ts), while it runs: each delivery
 * against its crc, and whether the index of due times has it. One that is missing there would wait for ever, and nobody
 * would know. What else can be wrong with a page is seen when it is read, here or on the way of the mail.
 *
 * SQLite's own check has no bound but a table: half a minute, for some gigabytes, in which nothing is committed. So it is
 * done in slices, each so short that a commit does not notice, and so rare that the rest of the time is the mail's.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { DamagedDatabase } from './group.ts';
import { deliveryRow, integerOf } from './rows.ts';
import { SpoolDamage } from './spool.ts';

const SLICE_MS = 4;
/** Rows between looks at the clock. */
const ROWS = 50;

export class BackgroundCheck {
  readonly #rows: StatementSync;
  readonly #entry: StatementSync;
  readonly #upToId: number;
  readonly #onDamage: (delivery: number, error: SpoolDamage) => void;
  readonly #monotonicMs: () => number;
  #lastId = 0;
  #checked = 0;

  /**
   * @param upToId what comes after was written by this process
   * @param onDamage of a row alone: it is set aside when its turn comes
   */
  constructor(
    db: DatabaseSync,
    upToId: number,
    onDamage: (delivery: number, error: SpoolDamage) => void,
    monotonicMs: () => number = () => performance.now(),
  ) {
    this.#rows = db.prepare('SELECT * FROM delivery NOT INDEXED WHERE id > ? AND id <= ? ORDER BY id LIMIT ?');
    this.#entry = db.prepare(
      `SELECT 1 FROM delivery INDEXED BY delivery_due
       WHERE destination = ? AND sender = ? AND due = ? AND id = ? AND due IS NOT NULL`,
    );
    this.#upToId = upToId;
    this.#onDamage = onDamage;
    this.#monotonicMs = monotonicMs;
  }

  /** Deliveries so far. */
  get checked(): number {
    return this.#checked;
  }

  /**
   * Looks at some more.
   *
   * @returns whether there is more to look at
   * @throws {DamagedDatabase} the next start has to look through all of it and to make the index anew
   */
  step(): boolean {
    const untilMs = this.#monotonicMs() + SLICE_MS;
    for (;;) {
      const rows = this.#rows.all(this.#lastId, this.#upToId, ROWS);
      for (const columns of rows) this.#look(columns);
      if (rows.length < ROWS) return false;
      if (this.#monotonicMs() >= untilMs) return true;
    }
  }

  #look(columns: Readonly<Record<string, unknown>>): void {
    const id = integerOf(columns.id);
    this.#lastId = id;
    this.#checked += 1;
    try {
      const { destination, sender } = deliveryRow(columns);
      if (columns.due === null || this.#entry.get(destination, sender, integerOf(columns.due), id)) return;
    } catch (error) {
      if (!(error instanceof SpoolDamage)) throw error;
      this.#onDamage(id, error);
      return;
    }
    throw new DamagedDatabase(`delivery row ${id} waits for its time, and the index of due times does not have it`);
  }
}
