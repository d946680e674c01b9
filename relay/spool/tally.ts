/** Counts of recipients that wait, in bounded memory: a queue may have more destinations than anybody looks at. */
import type { QueueCounts } from './spool.ts';

/** Rows are kept up to this number; then the smaller half of them goes into one sum. */
const ROWS = 20_000;

export class Tally {
  readonly #rowLimit: number;
  #rows = new Map<string, { destination: string; reason: string; recipients: number; held: number }>();
  #recipients = 0;

  constructor(rowLimit = ROWS) {
    this.#rowLimit = rowLimit;
  }

  /** Adds a recipient. */
  add(destination: string, reason: string, held: boolean): void {
    const key = `${destination}\n${reason}`;
    let row = this.#rows.get(key);
    if (!row) {
      row = { destination, reason, recipients: 0, held: 0 };
      this.#rows.set(key, row);
      if (this.#rows.size > this.#rowLimit) this.#forgetSmallest();
    }
    row.recipients += 1;
    if (held) row.held += 1;
    this.#recipients += 1;
  }

  /** A large row is there in nearly every part of the queue, so little of it is ever forgotten. */
  #forgetSmallest(): void {
    const kept = this.#rowLimit / 2;
    const sizes = Uint32Array.from(this.#rows.values(), ({ recipients }) => recipients).sort();
    const least = sizes[sizes.length - kept] ?? 0;
    const rows = [...this.#rows];
    const larger = rows.filter(([, { recipients }]) => recipients > least);
    const equal = rows.filter(([, { recipients }]) => recipients === least);
    this.#rows = new Map([...larger, ...equal.slice(0, kept - larger.length)]);
  }

  counts(): QueueCounts {
    const rows = [...this.#rows.values()].sort((a, b) => b.recipients - a.recipients);
    return { recipients: this.#recipients, rows };
  }
}
