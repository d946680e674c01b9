/** A plan: everything a controller decided about one object, as data. Controllers decide; `applyPlan` acts. */
import type { KindTypes } from '../../crds/kinds.ts';
import type { KindName, ObjectKey } from '../../crds/resource.ts';
import type {
  Backend,
  Namespaces,
  Objects,
  OperatorEvent,
  Publication,
  PublicationState,
  RelayGroup,
  Relays,
  Secret,
  Secrets,
} from '../backend.ts';
import type { DnsChecker } from '../dns/checker.ts';

/**
 * A Secret whose content is random and so cannot stand in a pure plan: `generate` makes it when the plan is applied.
 * It is only ever created; when another writer was first, the next observe finds that one.
 */
export interface SecretRecipe extends Omit<Secret, 'data'> {
  readonly generate: () => Promise<Readonly<Record<string, string>>>;
}

export interface Plan<Kind extends KindName> {
  /** Key material that is missing. After a creation the object is reconciled again at once. */
  readonly create?: readonly SecretRecipe[];
  /** Secrets of ours whose content can be made again; replaced as a whole. */
  readonly apply?: readonly (Secret | SecretRecipe)[];
  readonly delete?: readonly Pick<Secret, 'namespace' | 'name'>[];
  readonly relay?: RelayGroup;
  /** The relay's replicas are to be drained and ended within this time (ms). */
  readonly removeRelay?: { readonly drainTimeoutMs: number };
  /** Records that the backend has published; a key: what was published under it is taken away. */
  readonly publish?: Publication;
  readonly unpublish?: ObjectKey;
  /** Whether our finalizer is to be on the object; taken off only once `removeRelay` has ended. */
  readonly finalizer?: boolean;
  /** The condition that turns False with reason SecretConflict, and Ready with it, when a Secret is another's. */
  readonly secretCondition?: string;
  readonly status?: NonNullable<KindTypes[Kind]['status']>;
  readonly events?: readonly Omit<OperatorEvent, 'kind' | 'key'>[];
  /** Milliseconds until the object is to be looked at again without any change. */
  readonly againMs?: number;
}

/** Milliseconds since 1970. */
export type Clock = () => number;

/** What controllers may look at: nothing here writes. */
export interface World
  extends Pick<Backend, 'objects' | 'issuesCertificates' | 'submissionHost' | 'serviceNames' | 'bindPort'> {
  readonly secrets: Pick<Secrets, 'get' | 'ownedBy' | 'reference'>;
  readonly namespaces: Pick<Namespaces, 'labels'>;
  /** Grows with each change of any object or namespace: what follows from all of them need not be worked out again until then. */
  readonly revision: number;
  readonly relays: Pick<Relays, 'observe' | 'applied' | 'isEmpty' | 'peers' | 'selector'>;
  /** The groups that were applied lately to a relay, by config hash. */
  readonly groups: (relay: ObjectKey) => ReadonlyMap<string, RelayGroup>;
  readonly dns: Pick<DnsChecker, 'observe'>;
  readonly publication: (key: ObjectKey) => Promise<PublicationState>;
}

/** One controller: all input in observe, all decisions in plan. */
export interface Controller<Kind extends KindName, Observed> {
  readonly kind: Kind;
  /** Everything the plan needs; undefined when the object is gone. */
  observe(key: ObjectKey, world: World): Promise<Observed | undefined>;
  plan(observed: Observed, clock: Clock): Plan<Kind>;
  /** Objects of this kind to reconcile when the given object, or what is told of its replicas, changed. */
  affectedBy(kind: KindName, key: ObjectKey, objects: Objects): readonly ObjectKey[];
  /** Cleans up what a deleted object left; called when the object is gone, and at the start for what went before. */
  forget?(key: ObjectKey, secrets: Secrets): Promise<void>;
}
