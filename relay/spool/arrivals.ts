/**
 * Messages that came from another spool (move.ts), in the database of the peer: the ledger, by which the same move is
 * known again, and the queue id that each of them keeps.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { integerOf } from './rows.ts';

export class Arrivals {
  readonly #forgotten: StatementSync;
  readonly #entry: StatementSync;
  readonly #insert: StatementSync;
  readonly #setForgotten: StatementSync;
  readonly #drop: StatementSync;
  readonly #keepName: StatementSync;
  readonly #dropName: StatementSync;
  readonly #named: StatementSync;
  /** Queue ids of other spools that are kept: mostly none, and then no message has to be asked for one. */
  #names: number;

  constructor(db: DatabaseSync) {
    db.exec(`CREATE TABLE IF NOT EXISTS ledger (
      source TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      queue_id TEXT NOT NULL,
      PRIMARY KEY (source, sequence)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS forgotten (source TEXT PRIMARY KEY, up_to INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS moved_here (queue_id TEXT PRIMARY KEY, message INTEGER NOT NULL UNIQUE) STRICT`);
    this.#forgotten = db.prepare('SELECT up_to FROM forgotten WHERE source = ?');
    this.#entry = db.prepare('SELECT queue_id FROM ledger WHERE source = ? AND sequence = ?');
    this.#insert = db.prepare('INSERT INTO ledger (source, sequence, queue_id) VALUES (?, ?, ?)');
    this.#setForgotten = db.prepare(
      `INSERT INTO forgotten (source, up_to) VALUES (?, ?)
       ON CONFLICT DO UPDATE SET up_to = max(up_to, excluded.up_to)`,
    );
    this.#drop = db.prepare('DELETE FROM ledger WHERE source = ? AND sequence <= ?');
    this.#keepName = db.prepare('INSERT INTO moved_here (queue_id, message) VALUES (?, ?)');
    this.#dropName = db.prepare('DELETE FROM moved_here WHERE message = ?');
    this.#named = db.prepare('SELECT message FROM moved_here WHERE queue_id = ?');
    this.#names = integerOf(db.prepare('SELECT count(*) AS n FROM moved_here').get()?.n);
  }

  /**
   * Whether the move is a new one: then it is in the ledger now, and the message is the caller's to store. A source that
   * lost part of its database may give a number again: `known` would have it delete a message that nobody has.
   */
  enter(source: string, sequence: number, queueId: string, message: number): 'new' | 'known' | 'refused' {
    const forgotten = integerOf(this.#forgotten.get(source)?.up_to ?? 0);
    if (sequence <= forgotten) return 'refused';
    const entry = this.#entry.get(source, sequence);
    if (entry) return entry.queue_id === queueId ? 'known' : 'refused';
    this.#insert.run(source, sequence, queueId);
    this.#keepName.run(queueId, message);
    this.#names += 1;
    return 'new';
  }

  forget(source: string, upTo: number): void {
    this.#setForgotten.run(source, upTo);
    this.#drop.run(source, upTo);
  }

  /** The message is gone. */
  leave(message: number): void {
    if (this.#names > 0) this.#dropName.run(message);
  }

  /** Row id of a message that came with this queue id. */
  named(queueId: string): number | undefined {
    const row = this.#named.get(queueId);
    return row && integerOf(row.message);
  }
}
