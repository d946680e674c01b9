/**
 * Takes deliveries that are due: which, by the lanes, and their rows. Whatever fails on the way, none is left in hand that
 * nobody has, since it would not be tried before the next start.
 */
import type { Lanes } from './lanes.ts';
import type { Questions } from './questions.ts';
import type { StoredShare } from './requests.ts';
import type { Wish } from './spool.ts';
import type { Log } from './storage.ts';

export class Taking {
  readonly #lanes: Lanes;
  readonly #questions: Pick<Questions, 'deliveries'>;
  readonly #log: Log;
  #setAside = 0;
  #failures = 0;

  constructor(lanes: Lanes, questions: Pick<Questions, 'deliveries'>, log: Log) {
    this.#lanes = lanes;
    this.#questions = questions;
    this.#log = log;
  }

  /** Damaged deliveries. They stay in hand: else the first of its lane would be so forever. */
  get setAside(): number {
    return this.#setAside;
  }

  /** Times that nothing could be taken, such as for a disk that cannot be read. */
  get failures(): number {
    return this.#failures;
  }

  /** @throws what SQLite throws; nothing is in hand then that was not before */
  take(destination: string, { nowMs, limit, afterSender }: Wish): StoredShare {
    try {
      const share = this.#lanes.take(destination, nowMs, limit, afterSender);
      try {
        return { ...share, deliveries: this.#rows(share.deliveries) };
      } catch (error) {
        this.#lanes.takeBack(destination, nowMs, share.deliveries);
        throw error;
      }
    } catch (error) {
      this.#failures += 1;
      this.#log('error', `what is due cannot be read, and is looked for again: ${String(error)}`, { destination });
      throw error;
    }
  }

  #rows(deliveries: readonly number[]): StoredShare['deliveries'] {
    return this.#questions.deliveries(deliveries, (id, error) => {
      this.#log('error', `${error.message}; left out until the next start`, { delivery: id });
      this.#setAside += 1;
    });
  }
}
