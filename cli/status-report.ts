/** What `chasqui status` tells: objects, replicas and problems of one state folder, judged and written as text. */
import type { Condition } from '../crds/common.ts';
import { keyOf, type ObjectMeta } from '../crds/resource.ts';
import type { SmtpRelay } from '../crds/smtprelay.ts';
import type { ReplicaStatus } from '../relay/admin/status.ts';
import type { ManifestProblem } from './state-folder.ts';
import { age, colours, table } from './table.ts';

/** The part of an object that its row is made of. */
export interface StatusObject {
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly status?: { readonly conditions?: readonly Condition[] };
}

/** What a replica answers now; absent when it does not. */
export interface Live {
  readonly namespace: string;
  readonly name: string;
  readonly ordinal: number;
  readonly status?: ReplicaStatus;
}

export interface Observed {
  readonly state: string;
  /** Process id of the standalone that holds the folder. */
  readonly holder?: number;
  readonly objects: readonly StatusObject[];
  readonly relays: readonly SmtpRelay[];
  readonly live: readonly Live[];
  readonly problems: readonly ManifestProblem[];
}

export interface ObjectRow {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly ready: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly ageMs: number;
}

export interface ReplicaRow {
  /** NAMESPACE/NAME of the SmtpRelay. */
  readonly relay: string;
  readonly ordinal: number;
  readonly state: string;
  /** Messages in its spool; absent when the replica cannot be asked. */
  readonly messages?: number;
  /** Whether its spool holds mail; absent when unknown. */
  readonly queued?: boolean;
  /** Milliseconds since 1970 when the oldest message arrived. */
  readonly oldestMs?: number;
  readonly reasons: readonly string[];
}

export interface Report {
  readonly state: string;
  readonly holder?: number;
  /** All objects are ready, none is wrong, and there is one at least. */
  readonly ready: boolean;
  readonly objects: readonly ObjectRow[];
  readonly replicas: readonly ReplicaRow[];
  readonly problems: readonly ManifestProblem[];
}

/** @param nowMs milliseconds since 1970 */
export function report(observed: Observed, nowMs: number): Report {
  const objects = observed.objects.map((object) => objectRow(object, nowMs));
  const problems = [
    ...observed.problems,
    ...observed.objects.flatMap(refusedEdits),
    ...observed.objects.flatMap(refusals),
  ];
  return {
    state: observed.state,
    ...(observed.holder !== undefined && { holder: observed.holder }),
    ready:
      observed.holder !== undefined &&
      objects.length > 0 &&
      problems.length === 0 &&
      objects.every(({ ready }) => ready === 'True'),
    objects,
    replicas: observed.relays.flatMap((relay) => replicaRows(relay, observed.live)),
    problems,
  };
}

const conditionsOf = (object: StatusObject): readonly Condition[] => object.status?.conditions ?? [];

function objectRow(object: StatusObject, nowMs: number): ObjectRow {
  const { kind, metadata } = object;
  const { namespace, name } = metadata;
  const judged = judgement(object);
  return { kind, namespace, name, ...judged, ageMs: nowMs - Date.parse(metadata.creationTimestamp) };
}

function judgement(object: StatusObject): Pick<ObjectRow, 'ready' | 'reason' | 'message'> {
  const { deletionTimestamp, generation } = object.metadata;
  const ready = conditionsOf(object).find(({ type }) => type === 'Ready');
  if (deletionTimestamp !== undefined) {
    return { ready: 'False', reason: 'Deleting', message: ready?.message ?? 'it goes when its mail is delivered' };
  }
  if (!ready || ready.observedGeneration < generation) {
    return { ready: 'Unknown', reason: 'Pending', message: 'the operator has not looked at this version yet' };
  }
  return {
    ready: ready.status,
    reason: ready.reason,
    message: ready.status === 'True' ? notes(object) : ready.message,
  };
}

const NOTES: ReadonlySet<string> = new Set(['DnsVerified=False', 'SpfIncomplete=True']);

/** What does not keep an object from being ready, and should be known. */
const notes = (object: StatusObject): string =>
  conditionsOf(object)
    .filter(({ type, status }) => NOTES.has(`${type}=${status}`))
    .map(({ message }) => message)
    .join(' ');

/** An edit that was refused: the last good version is in force, and the object says so. */
function refusedEdits(object: StatusObject): readonly ManifestProblem[] {
  return conditionsOf(object)
    .filter(({ type, status }) => type === 'ManifestValid' && status === 'False')
    .map(({ message }) => ({
      file: sourceFile(object),
      object: `${object.kind}/${keyOf(object)}`,
      message: `${message} (the last good version is in force)`,
    }));
}

/** What is right by itself and refused for what else there is; the message begins with the field. */
function refusals(object: StatusObject): readonly ManifestProblem[] {
  return conditionsOf(object)
    .filter(({ type, status }) => type === 'Accepted' && status === 'False')
    .map(({ message: text }) => {
      const [, field, message = text] = /^(spec(?:\.\w+)*): (.+)$/s.exec(text) ?? [];
      const told = { file: sourceFile(object), object: `${object.kind}/${keyOf(object)}`, message };
      return field === undefined ? told : { ...told, field };
    });
}

function sourceFile(object: StatusObject): string {
  const source: unknown = 'source' in object ? object.source : undefined;
  const file = typeof source === 'object' && source !== null && 'file' in source ? source.file : undefined;
  return typeof file === 'string' ? file : '';
}

function replicaRows(relay: SmtpRelay, live: readonly Live[]): readonly ReplicaRow[] {
  const { namespace, name } = relay.metadata;
  return (relay.status?.replicaStates ?? []).map(({ ordinal, state, queued }) => {
    const answer = live.find(
      (replica) => replica.namespace === namespace && replica.name === name && replica.ordinal === ordinal,
    )?.status;
    const { messages, oldestMs } = answer?.queue ?? {};
    const holdsMail = messages === undefined ? queued : messages > 0;
    return {
      relay: keyOf(relay),
      ordinal,
      state,
      ...(messages !== undefined && { messages }),
      ...(holdsMail !== undefined && { queued: holdsMail }),
      ...(oldestMs !== undefined && { oldestMs }),
      reasons: answer?.reasons ?? [],
    };
  });
}

/** @param nowMs milliseconds since 1970 */
export function reportText({ state, holder, objects, replicas, problems }: Report, nowMs: number): string {
  const parts: string[] = [];
  if (holder === undefined) parts.push(colours.yellow(`No standalone runs on ${state}: this is how it was left.`));
  if (objects.length === 0) parts.push('No object was accepted yet.');
  else parts.push(objectTable(objects));
  if (replicas.length > 0) parts.push(replicaTable(replicas, nowMs));
  if (problems.length > 0) parts.push(problemTable(problems));
  return parts.join('\n\n');
}

const READY_COLOUR = { True: colours.green, False: colours.red, Unknown: colours.yellow };

const objectTable = (objects: readonly ObjectRow[]): string =>
  table(
    ['KIND', 'NAMESPACE', 'NAME', 'READY', 'REASON', 'AGE', 'MESSAGE'],
    objects.map(({ kind, namespace, name, ready, reason, message, ageMs }) => [
      kind,
      namespace,
      name,
      { text: ready, paint: READY_COLOUR[ready] },
      reason,
      age(ageMs),
      message,
    ]),
  );

const replicaTable = (replicas: readonly ReplicaRow[], nowMs: number): string =>
  table(
    ['REPLICA', 'STATE', 'QUEUED', 'OLDEST', 'MESSAGE'],
    replicas.map(({ relay, ordinal, state, messages, queued, oldestMs, reasons }) => [
      `${relay}-${ordinal}`,
      state,
      messages?.toString() ?? { true: 'yes', false: 'no', undefined: 'unknown' }[`${queued}`],
      oldestMs === undefined ? '' : age(nowMs - oldestMs),
      reasons.join('; '),
    ]),
  );

const problemTable = (problems: readonly ManifestProblem[]): string =>
  table(
    ['PROBLEM IN', 'OBJECT', 'FIELD', 'MESSAGE'],
    problems.map(({ file, object = '', field = '', message }) => [
      file,
      object,
      field,
      { text: message, paint: colours.red },
    ]),
  );
