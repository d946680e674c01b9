/**
 * What people do to the queue. A delivery on hold keeps its place in the index of due times, at a time that never comes:
 * so it is on hold after a restart too, and nothing on the way of other mail has to ask for it.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Place } from './lanes.ts';
import type { RowName, Steer, Steered } from './requests.ts';
import { heldSince, integerOf, isHeld, textOf } from './rows.ts';

export interface SteerEffects {
  readonly places: Place[];
  /** No message has the id 0. */
  readonly rowOf: (name: RowName) => number;
  readonly moving: (message: number) => boolean;
  /** Takes a delivery away, and its message with the last one. */
  readonly finish: (delivery: number) => void;
}

export class Steering {
  readonly #deliveries: StatementSync;
  readonly #setDue: StatementSync;

  constructor(db: DatabaseSync) {
    this.#deliveries = db.prepare(
      `SELECT delivery.id, destination, due FROM message, delivery
       WHERE message.id = ? AND delivery.id >= first_delivery AND delivery.id < first_delivery + deliveries`,
    );
    this.#setDue = db.prepare('UPDATE delivery SET due = ? WHERE id = ?');
  }

  apply({ action, selections, nowMs }: Steer, effects: SteerEffects): readonly Steered[] {
    return selections.map(({ message: name, destinations }) => {
      const message = effects.rowOf(name);
      const found = this.#deliveries
        .all(message)
        .filter(({ destination }) => destinations?.includes(textOf(destination)) ?? true);
      // Its peer may have it by now, or deliver it: only the move itself ends it here.
      if (found.length > 0 && effects.moving(message)) return { deliveries: found.length, changed: 0, moving: true };
      let changed = 0;
      for (const { id, destination, due } of found) {
        const delivery = integerOf(id);
        if (action === 'remove') effects.finish(delivery);
        else {
          const dueMs = dueAfter(action, due, nowMs);
          if (dueMs === undefined) continue;
          this.#setDue.run(dueMs, delivery);
          effects.places.push({ destination: textOf(destination), dueMs });
        }
        changed += 1;
      }
      return { deliveries: found.length, changed, moving: false };
    });
  }
}

/** undefined: it is as it should be. A delivery without a due time is in memory, about to be tried. */
function dueAfter(action: Exclude<Steer['action'], 'remove'>, due: unknown, nowMs: number): number | undefined {
  if (action === 'hold') return isHeld(due) ? undefined : heldSince(nowMs);
  if (action === 'release') return isHeld(due) ? nowMs : undefined;
  return typeof due === 'number' && !isHeld(due) && due > nowMs ? nowMs : undefined;
}
