/**
 * The relay groups that were applied lately, by config hash. A replica reports only the hash of its config; from here
 * controllers learn what that config holds, and so whether a domain or a user has reached the replica.
 *
 * Kept in memory alone: after a restart the first reconcile of a relay applies the same group, with the same hash.
 */
import type { ObjectKey } from '../../crds/resource.ts';
import type { RelayGroup } from '../backend.ts';

/** Configs a replica may lag behind before what it holds counts as unknown. */
const KEPT = 4;

const keyText = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;

export class AppliedGroups {
  readonly #byRelay = new Map<string, Map<string, RelayGroup>>();

  /** Groups of the relay by config hash, the latest last. */
  of(relay: ObjectKey): ReadonlyMap<string, RelayGroup> {
    return this.#byRelay.get(keyText(relay)) ?? new Map();
  }

  /** Returns whether the relay's config is another than before. */
  remember(group: RelayGroup): boolean {
    const id = keyText(group);
    const known = this.#byRelay.get(id);
    if (known && [...known.keys()].at(-1) === group.configHash) return false;
    const others = [...(known ?? [])].filter(([hash]) => hash !== group.configHash);
    this.#byRelay.set(id, new Map([...others, [group.configHash, group] as const].slice(-KEPT)));
    return true;
  }

  forget(relay: ObjectKey): void {
    this.#byRelay.delete(keyText(relay));
  }
}
