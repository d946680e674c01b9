/**
 * The lanes that have something waiting, with their earliest due time. Kept in an in-memory table beside the database,
 * derived from it at opening and after each commit: to ask the index itself would cost a walk over every waiting row.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { integerOf, textOf } from './rows.ts';
import type { Lane } from './spool.ts';

export type LaneKey = Pick<Lane, 'destination' | 'sender'>;

export class Lanes {
  readonly #earliest: StatementSync;
  readonly #set: StatementSync;
  readonly #remove: StatementSync;
  readonly #first: StatementSync;

  constructor(db: DatabaseSync) {
    db.exec(`
      CREATE TEMP TABLE lane (
        destination TEXT NOT NULL, sender TEXT NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (destination, sender)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX temp.lane_due ON lane (due);
      INSERT INTO temp.lane SELECT destination, sender, min(due) FROM delivery WHERE due IS NOT NULL
        GROUP BY destination, sender`);
    this.#earliest = db.prepare(
      'SELECT min(due) AS due FROM delivery WHERE destination = ? AND sender = ? AND due IS NOT NULL',
    );
    this.#set = db.prepare('INSERT OR REPLACE INTO temp.lane (destination, sender, due) VALUES (?, ?, ?)');
    this.#remove = db.prepare('DELETE FROM temp.lane WHERE destination = ? AND sender = ?');
    this.#first = db.prepare('SELECT destination, sender, due FROM temp.lane ORDER BY due LIMIT ?');
  }

  /** Looks again at lanes whose deliveries changed. */
  refresh(touched: Iterable<LaneKey>): void {
    const seen = new Set<string>();
    for (const { destination, sender } of touched) {
      const key = `${destination}\n${sender}`;
      if (seen.has(key)) continue;
      seen.add(key);
      const due = this.#earliest.get(destination, sender)?.due ?? null;
      if (due === null) this.#remove.run(destination, sender);
      else this.#set.run(destination, sender, due);
    }
  }

  first(limit: number): readonly Lane[] {
    return this.#first.all(limit).map((row) => ({
      destination: textOf(row.destination),
      sender: textOf(row.sender),
      dueMs: integerOf(row.due),
    }));
  }
}
