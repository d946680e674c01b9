/**
 * What waits for its time: destinations, and the lanes of their senders.
 *
 * A queue of a million messages may have as many lanes as deliveries, so lanes are not kept in memory: they are found in
 * the index by seeks, one a sender, when their destination is looked at. In memory is one row a destination: a time
 * before which nothing of it is due. A new due time lowers it; it is raised to what is true when the destination is
 * looked at.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { HELD_FROM, integerOf, isHeld, textOf } from './rows.ts';
import type { DueDestination, DueDestinations, Taken } from './spool.ts';

/** Of a delivery that waits. */
export interface Place {
  readonly destination: string;
  readonly dueMs: number;
}

interface Lane {
  readonly sender: string;
  /** Of the first delivery that is not in hand. */
  readonly dueMs: number;
}

type Share = Omit<Taken, 'deliveries'> & { readonly deliveries: readonly number[] };

export class Lanes {
  /** Deliveries that were given out and are not recorded yet. */
  readonly #inHand = new Set<number>();
  #latestMs = Number.NEGATIVE_INFINITY;
  readonly #lower: StatementSync;
  readonly #set: StatementSync;
  readonly #remove: StatementSync;
  readonly #first: StatementSync;
  readonly #next: StatementSync;
  readonly #firstSender: StatementSync;
  readonly #nextSender: StatementSync;
  readonly #lane: StatementSync;
  readonly #place: StatementSync;

  constructor(db: DatabaseSync) {
    db.exec(`
      CREATE TEMP TABLE destination (name TEXT PRIMARY KEY, due INTEGER NOT NULL, latest INTEGER) STRICT, WITHOUT ROWID;
      INSERT INTO temp.destination
        SELECT destination, min(due), max(CASE WHEN due < ${HELD_FROM} THEN due END)
        FROM delivery WHERE due IS NOT NULL GROUP BY destination;
      CREATE INDEX temp.destination_due ON destination (due, name)`);
    // All of the index is read once.
    const latest = db.prepare('SELECT max(latest) AS ms FROM temp.destination').get()?.ms ?? null;
    if (latest !== null) this.#latestMs = integerOf(latest);
    this.#lower = db.prepare(
      `INSERT INTO temp.destination (name, due) VALUES (?, ?)
       ON CONFLICT (name) DO UPDATE SET due = excluded.due WHERE excluded.due < due`,
    );
    this.#set = db.prepare('UPDATE temp.destination SET due = ? WHERE name = ?');
    this.#remove = db.prepare('DELETE FROM temp.destination WHERE name = ?');
    this.#first = db.prepare(
      'SELECT name, due FROM temp.destination WHERE due <= ? AND (due, name) > (?, ?) ORDER BY due, name LIMIT ?',
    );
    this.#next = db.prepare('SELECT min(due) AS due FROM temp.destination WHERE due > ?');
    const sender = (condition: string): string =>
      `SELECT id, sender, due FROM delivery INDEXED BY delivery_due
       WHERE destination = ? ${condition} AND due IS NOT NULL ORDER BY sender, due LIMIT 1`;
    this.#firstSender = db.prepare(sender(''));
    this.#nextSender = db.prepare(sender('AND sender > ?'));
    this.#lane = db.prepare(
      `SELECT id, due FROM delivery INDEXED BY delivery_due
       WHERE destination = ? AND sender = ? AND due IS NOT NULL ORDER BY due`,
    );
    this.#place = db.prepare('SELECT destination, due FROM delivery WHERE id = ? AND due IS NOT NULL');
  }

  /** Nothing is due later, but for what is on hold. */
  get latestMs(): number {
    return this.#latestMs;
  }

  /** Deliveries got a due time. */
  add(places: Iterable<Place>): void {
    const earliest = new Map<string, number>();
    for (const { destination, dueMs } of places) {
      if (!isHeld(dueMs)) this.#latestMs = Math.max(this.#latestMs, dueMs);
      earliest.set(destination, Math.min(dueMs, earliest.get(destination) ?? dueMs));
    }
    for (const [destination, dueMs] of earliest) this.#lower.run(destination, dueMs);
  }

  /** Outcomes of deliveries were recorded: what is left of them may be given out again. */
  release(deliveries: Iterable<number>): void {
    for (const id of deliveries) this.#inHand.delete(id);
  }

  /** Deliveries were taken and not tried. */
  giveBack(deliveries: readonly number[]): undefined {
    this.release(deliveries);
    this.add(
      deliveries.flatMap((id) => {
        const row = this.#place.get(id);
        return row ? [{ destination: textOf(row.destination), dueMs: integerOf(row.due) }] : [];
      }),
    );
  }

  /** Destinations that may have something due, those that wait longest first. */
  destinations(nowMs: number, limit: number, after: DueDestination | undefined): DueDestinations {
    const due = this.#first
      .all(nowMs, after?.dueMs ?? Number.MIN_SAFE_INTEGER, after?.destination ?? '', limit)
      .map((row) => ({ destination: textOf(row.name), dueMs: integerOf(row.due) }));
    const next = this.#next.get(nowMs)?.due ?? null;
    return { due, ...(next === null ? {} : { nextMs: integerOf(next) }) };
  }

  /**
   * Takes up to `limit` deliveries of a destination that are due; each of its senders has a share.
   *
   * @param afterSender whose turn was the last one
   * @throws what SQLite throws; nothing is in hand then that was not before
   */
  take(destination: string, nowMs: number, limit: number, afterSender: string | undefined): Share {
    const deliveries: number[] = [];
    try {
      return this.#take(destination, nowMs, limit, afterSender, deliveries);
    } catch (error) {
      this.release(deliveries);
      throw error;
    }
  }

  /** What was just taken could not be handed on. Asks nothing of the database, which may be what failed. */
  takeBack(destination: string, dueMs: number, deliveries: readonly number[]): void {
    this.release(deliveries);
    this.add([{ destination, dueMs }]);
  }

  #take(
    destination: string,
    nowMs: number,
    limit: number,
    afterSender: string | undefined,
    deliveries: number[],
  ): Share {
    const { lanes, laterMs, whole } = this.#lanes(destination, nowMs, limit, afterSender);
    let open = lanes;
    while (open.length > 0 && deliveries.length < limit) {
      const share = Math.max(1, Math.floor((limit - deliveries.length) / open.length));
      open = open.filter(({ sender }) => {
        const before = deliveries.length;
        this.#takeOf(destination, sender, nowMs, Math.min(limit, before + share), deliveries);
        return deliveries.length === before + share;
      });
    }
    // A lane that gave its whole share may be at its end: the next look will tell.
    const more = !whole || open.length > 0;
    const nextMs = more ? undefined : this.#raise(destination, lanes, laterMs);
    return { deliveries, lastSender: lanes.at(-1)?.sender, more, ...(nextMs !== undefined && { nextMs }) };
  }

  /**
   * Senders with something due, in turn, and when the next of the others is due.
   *
   * @returns whole: false when there are more than `limit`
   */
  #lanes(destination: string, nowMs: number, limit: number, afterSender: string | undefined) {
    const lanes: Lane[] = [];
    let laterMs = Number.POSITIVE_INFINITY;
    for (const lane of this.#inTurn(destination, afterSender)) {
      if (lane.dueMs > nowMs) laterMs = Math.min(laterMs, lane.dueMs);
      else if (lanes.length < limit) lanes.push(lane);
      else return { lanes, laterMs, whole: false };
    }
    return { lanes, laterMs, whole: true };
  }

  *#inTurn(destination: string, afterSender: string | undefined): Generator<Lane> {
    const all = function* (first: unknown, next: (sender: string) => unknown) {
      for (let row = first; isRow(row); row = next(textOf(row.sender))) yield row;
    };
    const following = (sender: string) => this.#nextSender.get(destination, sender);
    if (afterSender !== undefined) {
      for (const row of all(following(afterSender), following)) yield* this.#head(destination, row);
    }
    for (const row of all(this.#firstSender.get(destination), following)) {
      if (afterSender !== undefined && textOf(row.sender) > afterSender) return;
      yield* this.#head(destination, row);
    }
  }

  /** A lane with its first delivery that is not in hand; none where all of them are. */
  *#head(destination: string, row: Record<string, unknown>): Generator<Lane> {
    const sender = textOf(row.sender);
    if (!this.#inHand.has(integerOf(row.id))) yield { sender, dueMs: integerOf(row.due) };
    else {
      const dueMs = this.#dueOf(destination, sender);
      if (dueMs !== undefined) yield { sender, dueMs };
    }
  }

  #dueOf(destination: string, sender: string): number | undefined {
    for (const row of this.#lane.iterate(destination, sender)) {
      if (!this.#inHand.has(integerOf(row.id))) return integerOf(row.due);
    }
    return undefined;
  }

  /** @param taken grows to so many at most */
  #takeOf(destination: string, sender: string, nowMs: number, upTo: number, taken: number[]): void {
    for (const row of this.#lane.iterate(destination, sender)) {
      if (taken.length === upTo || integerOf(row.due) > nowMs) break;
      const id = integerOf(row.id);
      if (this.#inHand.has(id)) continue;
      this.#inHand.add(id);
      taken.push(id);
    }
  }

  /** Nothing is due any more: says when the next one is. */
  #raise(destination: string, taken: readonly Lane[], laterMs: number): number | undefined {
    const heads = taken.map(({ sender }) => this.#dueOf(destination, sender) ?? Number.POSITIVE_INFINITY);
    const nextMs = Math.min(laterMs, ...heads);
    if (nextMs < Number.POSITIVE_INFINITY) {
      this.#set.run(nextMs, destination);
      return nextMs;
    }
    this.#remove.run(destination);
    return undefined;
  }
}

const isRow = (row: unknown): row is Record<string, unknown> => typeof row === 'object' && row !== null;
