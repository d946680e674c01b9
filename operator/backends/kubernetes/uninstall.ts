/**
 * What is done before the operator is taken off a cluster, so that nothing waits for it afterwards: SmtpRelays carry a
 * finalizer that nobody else takes off, and with one left neither the object nor its namespace nor the CRD ever goes.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { GROUP, VERSION } from '../../../crds/common.ts';
import { keyOf, type ObjectKey } from '../../../crds/resource.ts';
import { SmtpRelay } from '../../../crds/smtprelay.ts';
import { FINALIZER } from '../../runtime/apply-plan.ts';
import type { ApiKind, KubernetesApi, LiveObject, Selection } from './api.ts';
import { Conflict, NotFound } from './api-error.ts';

const RELAY: ApiKind = { group: GROUP, version: VERSION, kind: SmtpRelay.kind, plural: SmtpRelay.plural };
const DEPLOYMENT: ApiKind = { group: 'apps', version: 'v1', kind: 'Deployment', plural: 'deployments' };
const POD: ApiKind = { group: '', version: 'v1', kind: 'Pod', plural: 'pods' };
const LOOK_MS = 1_000;
const PAGE = 500;

export interface Uninstall {
  readonly api: KubernetesApi;
  /** Whose SmtpRelays are ours; empty: of all. */
  readonly namespaces: readonly string[];
  /** The operator's Deployment, and how its pods are selected. */
  readonly operator: ObjectKey;
  readonly operatorPods: string;
  /** Told what is waited for, each time that it changes. */
  readonly log: (line: string) => void;
}

/** Deletes all SmtpRelays and waits, without a bound, until the operator has drained and ended them. */
export async function deleteRelays(work: Uninstall): Promise<void> {
  const told = once(work.log);
  for (;;) {
    const relays = await relaysOf(work);
    if (relays.length === 0) return;
    for (const { metadata } of relays.filter(({ metadata }) => metadata.deletionTimestamp === undefined)) {
      await unlessGone(work.api.delete(RELAY, metadata, { uid: metadata.uid, propagation: 'Background' }));
    }
    told(`waiting until these relays have delivered what they have: ${relays.map(keyOf).join(', ')}`);
    await pause(LOOK_MS);
  }
}

/** Ends the operator alone: relays run on as they are, and can be deleted without it. */
export async function leaveRelays(work: Uninstall): Promise<void> {
  const told = once(work.log);
  for (;;) {
    const going = (await relaysOf(work)).filter(({ metadata }) => metadata.deletionTimestamp !== undefined);
    if (going.length === 0) break;
    told(`waiting for relays that are being deleted: ${going.map(keyOf).join(', ')}`);
    await pause(LOOK_MS);
  }
  // A running operator would put the finalizers back.
  await endOperator(work, told);
  for (;;) {
    const held = (await relaysOf(work)).filter(({ metadata }) => metadata.finalizers?.includes(FINALIZER));
    if (held.length === 0) return;
    for (const relay of held) await release(work.api, relay);
  }
}

async function endOperator({ api, operator, operatorPods }: Uninstall, told: (line: string) => void): Promise<void> {
  await unlessGone(api.patch(DEPLOYMENT, operator, { spec: { replicas: 0 } }, { subresource: 'scale' }));
  for (;;) {
    const { items } = await api.list(POD, { namespace: operator.namespace, labelSelector: operatorPods });
    if (items.length === 0) return;
    told(`waiting until the operator has ended: ${items.map(keyOf).join(', ')}`);
    await pause(LOOK_MS);
  }
}

/** Takes our finalizer off; where another wrote the object in between, it is looked at again. */
async function release(api: KubernetesApi, { metadata }: LiveObject): Promise<void> {
  const { resourceVersion, finalizers = [] } = metadata;
  const others = finalizers.filter((name) => name !== FINALIZER);
  await unlessGone(api.patch(RELAY, metadata, { metadata: { resourceVersion, finalizers: others } }));
}

async function relaysOf({ api, namespaces }: Uninstall): Promise<readonly LiveObject[]> {
  const selections: readonly Selection[] =
    namespaces.length === 0 ? [{}] : namespaces.map((namespace) => ({ namespace }));
  const lists = await Promise.all(selections.map((selection) => listed(api, selection)));
  return lists.flat();
}

async function listed(api: KubernetesApi, selection: Selection): Promise<readonly LiveObject[]> {
  const found: LiveObject[] = [];
  let next: string | undefined;
  try {
    do {
      const page = await api.list(RELAY, { ...selection, limit: PAGE, ...(next !== undefined && { continue: next }) });
      found.push(...page.items);
      next = page.continue;
    } while (next !== undefined);
  } catch (error) {
    // Without the CRD there is no relay.
    if (!(error instanceof NotFound)) throw error;
  }
  return found;
}

async function unlessGone(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (error) {
    if (!(error instanceof NotFound || error instanceof Conflict)) throw error;
  }
}

/** Says each thing once for as long as it stays true. */
function once(log: (line: string) => void): (line: string) => void {
  let last = '';
  return (line) => {
    if (line !== last) log(line);
    last = line;
  };
}
