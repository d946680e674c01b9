/** Copies of what is in the cluster and belongs to relays, sorted by relay. */
import type { ObjectKey } from '../../../crds/resource.ts';
import type { ReflectorTimes } from '../../runtime/reflector.ts';
import type { ApiKind, KubernetesApi, LiveObject } from './api.ts';
import { LABELS, MANAGER, relayOf } from './children/identity.ts';
import { CHILD_KINDS, CLAIM_KIND, POD } from './children/kinds.ts';
import { Watched } from './watched.ts';

/** Kinds of which a copy is kept of what belongs to relays. */
const COPIED: readonly ApiKind[] = [...CHILD_KINDS, POD, CLAIM_KIND];

const OF_RELAYS = `${LABELS.managedBy}=${MANAGER},${LABELS.ownerKind}=SmtpRelay`;

export interface CopiesOptions {
  readonly api: Pick<KubernetesApi, 'list' | 'watch'>;
  /** Undefined: all. */
  readonly namespaces: readonly string[] | undefined;
  /** Something of the relay appeared, changed or went. */
  readonly changed: (relay: ObjectKey) => void;
  readonly failed: (kind: ApiKind, error: unknown, retryMs: number) => void;
  readonly times?: Partial<ReflectorTimes>;
}

export class Copies {
  readonly #watched: ReadonlyMap<ApiKind, Watched<LiveObject>>;
  /** By relay and kind, then by name. */
  readonly #sorted = new Map<string, Map<string, LiveObject>>();
  /** Which relay an object belongs to: one that is gone does not tell. */
  readonly #relays = new Map<string, ObjectKey>();
  readonly #changed: (relay: ObjectKey) => void;

  constructor({ api, namespaces, changed, failed, times }: CopiesOptions) {
    this.#changed = changed;
    this.#watched = new Map(
      COPIED.map((kind) => {
        const watched = new Watched({
          ...{ api, kind, namespaces, labelSelector: OF_RELAYS, decode: withoutManagers },
          changed: (key, now) => this.#sort(kind, key, now),
          failed: (error, retryMs) => failed(kind, error, retryMs),
          ...(times && { times }),
        });
        return [kind, watched];
      }),
    );
  }

  /** Resolves once all was read. */
  async start(): Promise<void> {
    await Promise.all([...this.#watched.values()].map((watched) => watched.start()));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#watched.values()].map((watched) => watched.stop()));
  }

  get synced(): boolean {
    return [...this.#watched.values()].every(({ synced }) => synced);
  }

  get(kind: ApiKind, key: ObjectKey): LiveObject | undefined {
    return this.#watched.get(kind)?.get(key);
  }

  of(relay: ObjectKey, kind: ApiKind): readonly LiveObject[] {
    return [...(this.#sorted.get(placeOf(relay, kind))?.values() ?? [])];
  }

  /** Takes in the answer to a write of our own. */
  wrote(kind: ApiKind, object: LiveObject): void {
    // What is not ours is not copied.
    if (relayOf(object.metadata)) this.#watched.get(kind)?.wrote(object);
  }

  #sort(kind: ApiKind, key: ObjectKey, now: LiveObject | undefined): void {
    const id = placeOf(key, kind);
    const [before, relay] = [this.#relays.get(id), now && relayOf(now.metadata)];
    if (before) this.#sorted.get(placeOf(before, kind))?.delete(key.name);
    if (now && relay) {
      const place = placeOf(relay, kind);
      const names = this.#sorted.get(place) ?? new Map<string, LiveObject>();
      this.#sorted.set(place, names.set(key.name, now));
      this.#relays.set(id, relay);
    } else this.#relays.delete(id);
    for (const each of new Set([before, relay])) if (each) this.#changed(each);
  }
}

const placeOf = ({ namespace, name }: ObjectKey, { plural }: ApiKind): string => `${namespace}/${name}/${plural}`;

/** Who wrote which field takes more room than all else, and nobody here asks. */
function withoutManagers(object: LiveObject): LiveObject {
  const { managedFields: _, ...metadata }: LiveObject['metadata'] & { readonly managedFields?: unknown } =
    object.metadata;
  return { ...object, metadata };
}
