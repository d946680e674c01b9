/** The changes that a spool knows, as statements. They run inside a transaction that the group commit holds. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Arrivals } from './arrivals.ts';
import { Departures } from './departures.ts';
import { Hastening } from './hasten.ts';
import { Intents } from './intents.ts';
import type { Place } from './lanes.ts';
import type { Adopted, Marked } from './move.ts';
import type { Adoption, Change, Committed, NewMessage, StoredOutcome } from './requests.ts';
import {
  contentCrc,
  deliveryCrc,
  deliveryRow,
  HELD_FROM,
  integerOf,
  type MessageRow,
  messageCrc,
  textOf,
} from './rows.ts';
import type { Steered } from './spool.ts';
import { Steering } from './steer.ts';
import { LOOKED_AT_ONCE, Unfinished } from './unfinished.ts';
import type { UsageTable } from './usage.ts';

/** What a change did, to be acted on once it is committed. */
export interface Applied {
  readonly committed: Committed;
  /** Change of the number of rows. */
  readonly messages: number;
  readonly deliveries: number;
  /** Highest id of a message that was added; 0 where none was. */
  readonly highestId: number;
  /** Deliveries that wait from now on. */
  readonly places: readonly Place[];
  /** Deliveries whose outcome was recorded. */
  readonly recorded: readonly number[];
  /** Messages that are over and had their body in a file. */
  readonly files: readonly number[];
}

/** The request contradicts the spool: it names a delivery that is not there. Nothing of it was done. */
export class RefusedChange extends Error {
  override readonly name = 'RefusedChange';
}

class Effects implements Applied {
  messages = 0;
  deliveries = 0;
  highestId = 0;
  readonly committed: {
    firstDeliveries: number[];
    marked: Marked[];
    adopted: Adopted | undefined;
    steered: readonly Steered[];
    found: number;
    next: number | undefined;
  } = { firstDeliveries: [], marked: [], adopted: undefined, steered: [], found: 0, next: undefined };
  readonly places: Place[] = [];
  readonly recorded: number[] = [];
  readonly files: number[] = [];
}

export class Changes {
  readonly #usage: UsageTable;
  readonly #insertMessage: StatementSync;
  readonly #insertBody: StatementSync;
  readonly #insertDelivery: StatementSync;
  readonly #setSignature: StatementSync;
  readonly #getDelivery: StatementSync;
  readonly #defer: StatementSync;
  readonly #deleteDelivery: StatementSync;
  readonly #deleteMessage: StatementSync;
  readonly #deleteBody: StatementSync;
  readonly #deleteSignature: StatementSync;
  readonly #park: StatementSync;
  readonly #reserve: StatementSync;
  readonly #hastening: Hastening;
  readonly #unfinished: Unfinished;
  readonly #departures: Departures;
  readonly #arrivals: Arrivals;
  readonly #intents: Intents;
  readonly #steering: Steering;
  /** Gaps that a rolled back change leaves do no harm. */
  #nextDelivery: number;

  /** @param usage where what quotas count is counted */
  constructor(db: DatabaseSync, usage: UsageTable) {
    this.#usage = usage;
    this.#departures = new Departures(db);
    this.#arrivals = new Arrivals(db);
    this.#insertMessage = db.prepare(
      `INSERT INTO message (id, first_delivery, deliveries, envelope, file_bytes, file_crc, crc)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#insertBody = db.prepare('INSERT INTO body (message, content, crc) VALUES (?, ?, ?)');
    this.#insertDelivery = db.prepare(
      `INSERT INTO delivery (id, message, destination, sender, due, attempts, recipients, crc)
       VALUES (?, ?, ?, ?, NULL, 0, ?, ?)`,
    );
    this.#setSignature = db.prepare('INSERT OR REPLACE INTO signature (message, fields, crc) VALUES (?, ?, ?)');
    this.#getDelivery = db.prepare('SELECT * FROM delivery WHERE id = ?');
    // What was put on hold during its attempt stays so.
    this.#defer = db.prepare(
      `UPDATE delivery SET due = CASE WHEN due >= ${HELD_FROM} THEN due ELSE ? END, attempts = ?, recipients = ?, crc = ?
       WHERE id = ?`,
    );
    this.#intents = new Intents(db);
    this.#steering = new Steering(db, this.#intents);
    this.#deleteDelivery = db.prepare('DELETE FROM delivery WHERE id = ? RETURNING message');
    this.#deleteMessage = db.prepare(
      `DELETE FROM message WHERE id = ? AND NOT EXISTS (
         SELECT 1 FROM delivery
         WHERE delivery.id >= message.first_delivery AND delivery.id < message.first_delivery + message.deliveries)
       RETURNING file_bytes`,
    );
    this.#deleteBody = db.prepare('DELETE FROM body WHERE message = ?');
    this.#deleteSignature = db.prepare('DELETE FROM signature WHERE message = ?');
    this.#park = db.prepare('UPDATE delivery SET due = ? WHERE id = ? AND due IS NULL RETURNING destination');
    this.#hastening = new Hastening(db);
    this.#unfinished = new Unfinished(db);
    this.#reserve = db.prepare('UPDATE meta SET reserved_id = max(reserved_id, ?)');
    const used = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'delivery'").get()?.seq ?? 0;
    this.#nextDelivery = integerOf(used) + 1;
  }

  /** @throws {RefusedChange | SpoolDamage | Error} the caller rolls back what it did until then. */
  apply(change: Change): Applied {
    const effects = new Effects();
    switch (change.kind) {
      case 'accept':
        this.#accept(change.message, effects);
        if (change.usage) this.#usage.add(change.usage);
        break;
      case 'record':
        for (const outcome of change.outcomes) this.#record(outcome, effects);
        for (const message of change.spawned) this.#accept(message, effects);
        break;
      case 'park':
        for (const delivery of change.deliveries) {
          const row = this.#park.get(change.dueMs, delivery);
          if (row) effects.places.push({ destination: textOf(row.destination), dueMs: change.dueMs });
        }
        break;
      case 'hasten':
        this.#found(this.#hastening.apply(change.by, change.afterId), effects);
        break;
      case 'requeue':
        this.#found(this.#unfinished.look(change.upToId, LOOKED_AT_ONCE, change.dueMs), effects);
        break;
      case 'steer':
        effects.committed.steered = this.#steering.apply(change, {
          places: effects.places,
          rowOf: (name) => (typeof name === 'number' ? name : (this.#arrivals.named(name) ?? 0)),
          moving: (message) => this.#departures.isMoving(message),
          recall: (message) => this.#departures.recall(message, change.nowMs),
          finish: (delivery) => this.#finish(delivery, effects),
        });
        break;
      case 'reserve':
        this.#reserve.run(change.upToId);
        break;
      case 'mark':
        this.#mark(change, effects);
        break;
      case 'adopt':
        this.#adopt(change, effects);
        break;
      case 'finish':
        for (const sequence of change.sequences) this.#leave(sequence, effects);
        break;
      case 'forget':
        this.#arrivals.forget(change.source, change.upTo);
        break;
    }
    return effects;
  }

  #found({ places, next }: ReturnType<Unfinished['look']>, effects: Effects): void {
    for (const place of places) effects.places.push(place);
    effects.committed.found = places.length;
    effects.committed.next = next;
  }

  #mark({ messages, peer, nowMs }: Extract<Change, { kind: 'mark' }>, effects: Effects): void {
    for (const message of messages) {
      // It is about to be ended here.
      if (message.deliveries.some((id) => this.#intents.of(id) !== undefined)) continue;
      const marked = this.#departures.mark(message, peer, nowMs);
      if (marked) effects.committed.marked.push(marked);
    }
  }

  #leave(sequence: number, effects: Effects): void {
    for (const delivery of this.#departures.finish(sequence)) this.#finish(delivery, effects);
  }

  /** The message and its entry in the ledger are one: a move that is known stores nothing. */
  #adopt({ source, sequence, queueId, message, signature, deliveries }: Adoption, effects: Effects): void {
    const adopted = this.#arrivals.enter(source, sequence, queueId, message.id);
    effects.committed.adopted = adopted;
    if (adopted !== 'new') return;
    this.#accept(message, effects);
    const first = effects.committed.firstDeliveries[0] ?? 0;
    for (const [index, { attempts, due, recipients }] of deliveries.entries()) {
      const outcome = { delivery: first + index, attempts, recipients, dueMs: due, signature, intent: undefined };
      this.#deferTo(outcome, recipients, effects);
    }
  }

  #accept(message: NewMessage, effects: Effects): void {
    const { id, envelope, sender, body } = message;
    const firstDelivery = this.#nextDelivery;
    const row: MessageRow = {
      id,
      firstDelivery,
      deliveries: message.deliveries.length,
      envelope,
      file: body instanceof Uint8Array ? undefined : body,
    };
    this.#insertMessage.run(
      id,
      firstDelivery,
      row.deliveries,
      envelope,
      row.file?.sizeBytes ?? null,
      row.file?.crc ?? null,
      messageCrc(row),
    );
    if (body instanceof Uint8Array) {
      this.#insertBody.run(id, body, contentCrc(id, body));
    }
    for (const { destination, recipients } of message.deliveries) {
      const delivery = { id: this.#nextDelivery++, message: id, destination, sender, attempts: 0, recipients };
      this.#insertDelivery.run(delivery.id, id, destination, sender, recipients, deliveryCrc(delivery));
    }
    effects.committed.firstDeliveries.push(firstDelivery);
    effects.messages += 1;
    effects.deliveries += row.deliveries;
    effects.highestId = Math.max(effects.highestId, id);
  }

  #record(outcome: StoredOutcome, effects: Effects): void {
    const { delivery, intent } = outcome;
    if (intent !== undefined && this.#intents.of(delivery) !== intent) {
      throw new RefusedChange(`delivery ${delivery} is no longer to be ended`);
    }
    if (outcome.recipients === undefined) this.#finish(delivery, effects);
    else this.#deferTo(outcome, outcome.recipients, effects);
  }

  #finish(id: number, effects: Effects): void {
    const row = this.#deleteDelivery.get(id);
    if (!row) throw new RefusedChange(`there is no delivery ${id}`);
    this.#intents.drop(id);
    effects.recorded.push(id);
    effects.deliveries -= 1;
    const message = integerOf(row.message);
    const over = this.#deleteMessage.get(message);
    if (!over) return;
    effects.messages -= 1;
    this.#arrivals.leave(message);
    this.#deleteSignature.run(message);
    if (over.file_bytes === null) this.#deleteBody.run(message);
    else effects.files.push(message);
  }

  #deferTo(outcome: StoredOutcome, recipients: string, effects: Effects): void {
    const columns = this.#getDelivery.get(outcome.delivery);
    if (!columns) throw new RefusedChange(`there is no delivery ${outcome.delivery}`);
    const row = { ...deliveryRow(columns), attempts: outcome.attempts, recipients };
    this.#defer.run(outcome.dueMs, row.attempts, recipients, deliveryCrc(row), row.id);
    effects.recorded.push(row.id);
    effects.places.push({ destination: row.destination, dueMs: outcome.dueMs });
    if (outcome.signature) {
      this.#setSignature.run(row.message, outcome.signature, contentCrc(row.message, outcome.signature));
    }
  }
}
