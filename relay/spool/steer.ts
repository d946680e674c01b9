/**
 * What people do to the queue. A delivery on hold keeps its place in the index of due times, at a time that never comes:
 * so it is on hold after a restart too, and nothing on the way of other mail has to ask for it.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Intents } from './intents.ts';
import type { Place } from './lanes.ts';
import type { RowName, Steer } from './requests.ts';
import { heldSince, integerOf, isHeld, textOf } from './rows.ts';
import type { Steered } from './spool.ts';

export interface SteerEffects {
  readonly places: Place[];
  /** No message has the id 0. */
  readonly rowOf: (name: RowName) => number;
  readonly moving: (message: number) => boolean;
  /** Takes back that it moves. */
  readonly recall: (message: number) => readonly Place[];
  /** Takes a delivery away, and its message with the last one. */
  readonly finish: (delivery: number) => void;
}

interface Found {
  readonly id: number;
  readonly destination: string;
  readonly due: unknown;
}

export class Steering {
  readonly #deliveries: StatementSync;
  readonly #setDue: StatementSync;
  readonly #intents: Intents;

  constructor(db: DatabaseSync, intents: Intents) {
    this.#intents = intents;
    this.#deliveries = db.prepare(
      `SELECT delivery.id, destination, due FROM message, delivery
       WHERE message.id = ? AND delivery.id >= first_delivery AND delivery.id < first_delivery + deliveries`,
    );
    this.#setDue = db.prepare('UPDATE delivery SET due = ? WHERE id = ?');
  }

  apply(steer: Steer, effects: SteerEffects): readonly Steered[] {
    const intent = steer.ending && this.#intents.begin();
    return steer.selections.map(({ message: name, destinations }) => {
      const message = effects.rowOf(name);
      const found = this.#found(message, destinations, steer.intent);
      if (steer.action === 'recall') {
        const places = effects.recall(message);
        effects.places.push(...places);
        return { deliveries: found.length, changed: places.length, moving: false };
      }
      // Its peer may have it by now, or deliver it: only the move itself ends it here.
      if (found.length > 0 && effects.moving(message)) return { deliveries: found.length, changed: 0, moving: true };
      if (steer.ending && intent !== undefined) {
        for (const { id } of found) this.#intents.set(id, intent, steer.ending);
      }
      const changed = found.filter((delivery) => this.#change(steer, delivery, effects)).length;
      const steered = { deliveries: found.length, changed, moving: false };
      return intent === undefined || found.length === 0 ? steered : { ...steered, intent };
    });
  }

  #found(message: number, destinations: readonly string[] | undefined, intent: number | undefined): readonly Found[] {
    return this.#deliveries
      .all(message)
      .map(({ id, destination, due }) => ({ id: integerOf(id), destination: textOf(destination), due }))
      .filter(({ destination }) => destinations?.includes(destination) ?? true)
      .filter(({ id }) => intent === undefined || this.#intents.of(id) === intent);
  }

  /** Whether it is other than before. */
  #change({ action, nowMs }: Steer, { id, destination, due }: Found, effects: SteerEffects): boolean {
    if (action === 'recall') return false;
    if (action === 'remove') {
      effects.finish(id);
      return true;
    }
    if (action === 'release') this.#intents.drop(id);
    const dueMs = dueAfter(action, due, nowMs);
    if (dueMs === undefined) return false;
    this.#setDue.run(dueMs, id);
    effects.places.push({ destination, dueMs });
    return true;
  }
}

/** undefined: it is as it should be. A delivery without a due time is in memory, about to be tried. */
function dueAfter(action: 'hold' | 'release' | 'retry', due: unknown, nowMs: number): number | undefined {
  if (action === 'hold') return isHeld(due) ? undefined : heldSince(nowMs);
  if (action === 'release') return isHeld(due) ? nowMs : undefined;
  return typeof due === 'number' && !isHeld(due) && due > nowMs ? nowMs : undefined;
}
