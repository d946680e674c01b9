/**
 * Carries out a plan. Every step can be repeated: a crash between two of them leaves a state that the next reconcile
 * observes and goes on from. A plan that asks for what already is writes nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KindTypes } from '../../crds/kinds.ts';
import type { KindName } from '../../crds/resource.ts';
import { type Backend, type Secret, SecretConflict } from '../backend.ts';
import { conditionEvents, type Judgement, setCondition } from './conditions.ts';
import { ownership } from './ownership.ts';
import type { Clock, Plan, SecretRecipe } from './plan.ts';

/** Set on objects whose deletion waits for us. */
export const FINALIZER = 'chasqui.dev/drain';

/** How soon a removal that goes on, and a Secret that is another's, are looked at again without any news (ms). */
const REMOVAL_AGAIN_MS = 1_000;
const CONFLICT_AGAIN_MS = 60_000;

type Target = KindTypes[KindName];

/** What applying a plan acts on. */
export type Effects = Pick<Backend, 'objects' | 'secrets' | 'relays' | 'events' | 'publications'>;

/**
 * @returns milliseconds until the object is to be reconciled again, if at all
 * @throws what the backend throws, but for SecretConflict, which becomes a condition
 */
export async function applyPlan(
  plan: Plan<KindName>,
  object: Target,
  backend: Effects,
  clock: Clock,
): Promise<number | undefined> {
  const key = { namespace: object.metadata.namespace, name: object.metadata.name };
  // Before anything that would have to be cleaned up exists.
  if (plan.finalizer === true) await setFinalizer(object, true, backend);

  for (const { namespace, name } of plan.delete ?? []) await backend.secrets.delete(namespace, name);
  const created = await createSecrets(plan.create ?? [], backend);
  const applied = await applySecrets(plan.apply ?? [], backend);
  if (plan.relay) await backend.relays.apply(plan.relay);
  if (plan.publish) await backend.publications?.apply(plan.publish);
  if (plan.unpublish) await backend.publications?.delete(plan.unpublish);
  const removed = plan.removeRelay === undefined || (await backend.relays.remove(key, plan.removeRelay.drainTimeoutMs));

  const conflicts = [...created.conflicts, ...applied.conflicts];
  await patchStatus(withConflicts(plan, object, conflicts, clock), object, backend);
  if (created.conflicts.length === 0) {
    for (const event of plan.events ?? []) backend.events.emit({ kind: object.kind, key, ...event });
  }
  if (plan.finalizer === false && removed) await setFinalizer(object, false, backend);

  // What a recipe made is input of the next plan.
  if (created.written || applied.written) return 0;
  return earliest(
    plan.againMs,
    removed ? undefined : REMOVAL_AGAIN_MS,
    conflicts.length ? CONFLICT_AGAIN_MS : undefined,
  );
}

const earliest = (...times: readonly (number | undefined)[]): number | undefined => {
  const known = times.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
};

async function setFinalizer(object: Target, present: boolean, backend: Effects): Promise<void> {
  const { namespace, name, finalizers } = object.metadata;
  if ((finalizers ?? []).includes(FINALIZER) === present) return;
  await backend.objects.setFinalizer(object.kind, { namespace, name }, present);
}

interface Written {
  readonly written: boolean;
  /** NAMESPACE/NAME of Secrets that are another's. */
  readonly conflicts: readonly string[];
}

/** All keys of a plan are made before the first is written, so that a domain's keys appear together. */
async function createSecrets(recipes: readonly SecretRecipe[], backend: Effects): Promise<Written> {
  const secrets = await Promise.all(recipes.map(made));
  const conflicts: string[] = [];
  let written = false;
  for (const secret of secrets) {
    try {
      await backend.secrets.create(secret);
      written = true;
    } catch (error) {
      if (!(error instanceof SecretConflict)) throw error;
      // The cache may lag behind our own last write: only what is there now decides.
      const live = await backend.secrets.get(secret.namespace, secret.name);
      if (live && live.purpose === secret.purpose && ownership(live, secret.owner) === 'Ours') written = true;
      else conflicts.push(`${secret.namespace}/${secret.name}`);
    }
  }
  return { written, conflicts };
}

async function applySecrets(wanted: readonly (Secret | SecretRecipe)[], backend: Effects): Promise<Written> {
  const conflicts: string[] = [];
  let written = false;
  for (const entry of wanted) {
    try {
      const live = await backend.secrets.get(entry.namespace, entry.name);
      if ('data' in entry && isDeepStrictEqual(live, entry)) continue;
      await backend.secrets.apply(await made(entry));
      written = true;
    } catch (error) {
      if (!(error instanceof SecretConflict)) throw error;
      conflicts.push(`${entry.namespace}/${entry.name}`);
    }
  }
  return { written, conflicts };
}

async function made(entry: Secret | SecretRecipe): Promise<Secret> {
  if (!('generate' in entry)) return entry;
  const { generate, ...secret } = entry;
  return { ...secret, data: await generate() };
}

type Status = Plan<KindName>['status'];

function withConflicts(plan: Plan<KindName>, object: Target, conflicts: readonly string[], clock: Clock): Status {
  const { status, secretCondition } = plan;
  if (!status || secretCondition === undefined || conflicts.length === 0) return status;
  const judgement = secretConflict(secretCondition, conflicts);
  const conditions = status.conditions?.map((planned) => {
    if (planned.type !== secretCondition && planned.type !== 'Ready') return planned;
    const previous = object.status?.conditions?.find(({ type }) => type === planned.type);
    const { observedGeneration } = planned;
    return setCondition(previous, { ...judgement, type: planned.type, observedGeneration }, clock);
  });
  return conditions ? { ...status, conditions } : status;
}

/** How a Secret that stands where ours should be is told. */
export const secretConflict = (type: string, secrets: readonly string[]): Judgement => ({
  type,
  status: 'False',
  reason: 'SecretConflict',
  message: `Secret ${secrets.join(', ')} belongs to someone else and is left as it is: delete it, or choose another name.`,
});

async function patchStatus(status: Status, object: Target, backend: Effects): Promise<void> {
  if (!status || isDeepStrictEqual(status, object.status)) return;
  const key = { namespace: object.metadata.namespace, name: object.metadata.name };
  await backend.objects.patchStatus(object.kind, key, status);
  for (const event of conditionEvents(object.status?.conditions, status.conditions)) {
    backend.events.emit({ kind: object.kind, key, ...event });
  }
}
