/**
 * What to write so that the children of a relay are as they should be. What was applied last is remembered on each
 * child itself, so a restart of the operator writes nothing; what another changed or deleted since is seen in the child.
 */
import { createHash } from 'node:crypto';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { canonicalJson } from '../../../smtprelay/canonical-json.ts';
import type { ApiObject, LiveObject } from '../api.ts';
import type { Child } from './children.ts';
import { CONFIG_PURPOSE } from './config-secrets.ts';
import { drift } from './drift.ts';
import { ANNOTATIONS, LABELS } from './identity.ts';
import { SECRET, STATEFUL_SET } from './kinds.ts';

export interface LiveChild {
  readonly kind: Child['kind'];
  readonly object: LiveObject;
}

export interface WantedChild extends Child {
  /** With the hash of it as annotation. */
  readonly object: ApiObject;
  readonly hash: string;
  /** Why, for the log. */
  readonly because: string;
}

export type ChildStep =
  /** There is none of ours: what stands under its name may be another's. */
  | ({ readonly step: 'create' } & WantedChild)
  | ({ readonly step: 'apply' } & WantedChild)
  /** It cannot be changed to that: it is deleted, its pods left running, and made anew. */
  | ({ readonly step: 'remake'; readonly uid: string } & WantedChild)
  | ({ readonly step: 'delete' } & LiveChild);

/** Whether a child was applied by this hash, and this field was another even then. */
export type Settled = (uid: string, hash: string, field: string) => boolean;

/**
 * @param live children of the relay that are ours
 * @param settled a field that the API server or a webhook writes otherwise must not be written again and again
 */
export function planChildren(
  wanted: readonly Child[],
  live: readonly LiveChild[],
  settled: Settled,
): readonly ChildStep[] {
  const known = new Map(live.map((child) => [idOf(child), child]));
  const steps = wanted.flatMap((child) => stepFor(child, known.get(idOf(child))?.object, settled));
  const kept = new Set(wanted.map(idOf));
  // What is no longer wanted goes last: nothing names it any more.
  const gone = live.filter((child) => !kept.has(idOf(child)) && canGo(child));
  return [...steps, ...gone.map((child) => ({ step: 'delete', ...child }) as const)];
}

function stepFor({ kind, object }: Child, live: LiveObject | undefined, settled: Settled): readonly ChildStep[] {
  const hash = hashOf(object);
  const stamped = withHash(object, hash);
  if (!live) return [{ step: 'create', kind, object: stamped, hash, because: 'it is missing' }];
  // It comes back once it is gone.
  if (live.metadata.deletionTimestamp !== undefined) return [];
  const field = drift(stamped, live);
  if (field === undefined || settled(live.metadata.uid, hash, field)) return [];
  const applied = live.metadata.annotations?.[ANNOTATIONS.appliedHash];
  const because = applied === hash ? `${field} was changed by another` : `${field} is another now`;
  if (kind === STATEFUL_SET && !canBecome(object, live)) {
    return [{ step: 'remake', kind, object: stamped, hash, because, uid: live.metadata.uid }];
  }
  return [{ step: 'apply', kind, object: stamped, hash, because }];
}

/** Fields of a StatefulSet that an API server lets nobody change. */
function canBecome(wanted: ApiObject, live: LiveObject): boolean {
  const [then, now] = [fixedPart(wanted.spec), fixedPart(live.spec)];
  return then !== undefined && now !== undefined && drift(then, now) === undefined && drift(now, then) === undefined;
}

const Claim = Type.Object({
  metadata: Type.Object({ name: Type.String() }),
  spec: Type.Object({
    storageClassName: Type.Optional(Type.String()),
    resources: Type.Object({ requests: Type.Object({ storage: Type.String() }) }),
  }),
});
const Fixed = Schema.Compile(
  Type.Object({
    serviceName: Type.String(),
    selector: Type.Unknown(),
    podManagementPolicy: Type.String(),
    volumeClaimTemplates: Type.Array(Claim),
  }),
);

function fixedPart(spec: unknown): object | undefined {
  if (!Fixed.Check(spec)) return undefined;
  const { serviceName, selector, podManagementPolicy, volumeClaimTemplates } = spec;
  const claims = volumeClaimTemplates.map(({ metadata: { name }, spec: { storageClassName, resources } }) => ({
    name,
    storageClassName: storageClassName ?? '',
    storage: resources.requests.storage,
  }));
  return { serviceName, selector, podManagementPolicy, claims };
}

/** The size that new claims of a StatefulSet have, as a Quantity. */
export function claimSize(statefulSet: LiveObject | undefined): string | undefined {
  const spec = statefulSet?.spec;
  return Fixed.Check(spec) ? spec.volumeClaimTemplates[0]?.spec.resources.requests.storage : undefined;
}

/** Keys and tokens are not made again, and nobody but a removal deletes the replicas. */
const canGo = ({ kind, object }: LiveChild): boolean =>
  kind === SECRET ? object.metadata.labels?.[LABELS.purpose] === CONFIG_PURPOSE : kind !== STATEFUL_SET;

const idOf = ({ kind, object }: { kind: Child['kind']; object: ApiObject }): string =>
  `${kind.group}/${kind.plural}/${object.metadata.name}`;

/** Of a child as it is wanted, without the annotation that holds this. */
export const hashOf = (object: ApiObject): string => createHash('sha256').update(canonicalJson(object)).digest('hex');

const withHash = (object: ApiObject, hash: string): ApiObject => ({
  ...object,
  metadata: {
    ...object.metadata,
    annotations: { ...object.metadata.annotations, [ANNOTATIONS.appliedHash]: hash },
  },
});
