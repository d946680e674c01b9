/**
 * What senders with a quota have sent: recipients by sender and slot of time, in the database of the queue, so that a
 * message and its count are one commit. Rows are few and short-lived: a slot is minutes long, and goes after a day.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { integerOf, textOf } from './rows.ts';
import type { Usage } from './spool.ts';

const SLOT_MS = 5 * 60_000;
/** A day, and the slot that has only begun to leave it. */
const KEPT_SLOTS = (24 * 3_600_000) / SLOT_MS + 1;

export const slotOf = (ms: number): number => Math.floor(ms / SLOT_MS);

/** Slots that share a moment with the span of time that ends now: what they hold is never counted too low. */
export const slotsOf = (spanMs: number): number => Math.ceil(spanMs / SLOT_MS) + 1;

export class UsageTable {
  readonly #add: StatementSync;
  readonly #all: StatementSync;
  readonly #forget: StatementSync;
  #forgotten: number;

  /** @param openedMs milliseconds since 1970 */
  constructor(db: DatabaseSync, openedMs: number) {
    // By slot first: what goes is one range.
    db.exec(`CREATE TABLE IF NOT EXISTS usage (
      slot INTEGER NOT NULL,
      sender TEXT NOT NULL,
      recipients INTEGER NOT NULL,
      PRIMARY KEY (slot, sender)
    ) STRICT, WITHOUT ROWID`);
    this.#add = db.prepare(
      `INSERT INTO usage (slot, sender, recipients) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET recipients = recipients + excluded.recipients`,
    );
    this.#all = db.prepare('SELECT slot, sender, recipients FROM usage WHERE slot > ? ORDER BY slot');
    this.#forget = db.prepare('DELETE FROM usage WHERE slot <= ?');
    this.#forgotten = slotOf(openedMs) - KEPT_SLOTS;
    this.#forget.run(this.#forgotten);
  }

  /** Part of the transaction of the message. */
  add({ slot, sender, recipients }: Usage): void {
    this.#add.run(slot, sender, recipients);
    if (slot - KEPT_SLOTS <= this.#forgotten) return;
    this.#forgotten = slot - KEPT_SLOTS;
    this.#forget.run(this.#forgotten);
  }

  /** Earliest first. */
  all(): readonly Usage[] {
    return this.#all.all(this.#forgotten).map(({ slot, sender, recipients }) => ({
      slot: integerOf(slot),
      sender: textOf(sender),
      recipients: integerOf(recipients),
    }));
  }
}
