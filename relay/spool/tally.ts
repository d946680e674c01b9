/** Counts of recipients that wait, in bounded memory: a queue may have more destinations than anybody looks at. */
import type { QueueCount, QueueCounts } from './spool.ts';

/** Rows are kept up to this number; then the smaller half of them goes into one sum. */
const ROWS = 20_000;

export class Tally {
  readonly #rowLimit: number;
  #rows = new Map<string, { destination: string; reason: string; recipients: number; held: number }>();
  #recipients = 0;

  constructor(rowLimit = ROWS) {
    this.#rowLimit = rowLimit;
  }

  add(counts: readonly QueueCount[]): void {
    for (const { destination, reason, recipients, held } of counts) {
      const key = `${destination}\n${reason}`;
      const row = this.#rows.get(key);
      if (row) {
        row.recipients += recipients;
        row.held += held;
      } else this.#rows.set(key, { destination, reason, recipients, held });
      this.#recipients += recipients;
    }
    if (this.#rows.size > this.#rowLimit) this.#forgetSmallest();
  }

  /** A large row is there in nearly every part of the queue, so little of it is ever forgotten. */
  #forgetSmallest(): void {
    const largest = [...this.#rows].sort(([, a], [, b]) => b.recipients - a.recipients);
    this.#rows = new Map(largest.slice(0, this.#rowLimit / 2));
  }

  counts(): QueueCounts {
    const rows = [...this.#rows.values()].sort((a, b) => b.recipients - a.recipients);
    return { recipients: this.#recipients, rows };
  }
}
