/** Condition Programmed: whether the replicas that run go by what the manifests say now. */
import { CERTIFICATES } from '../../relay/config/documents.ts';
import type { RelayGroup, RelayReplica } from '../backend.ts';
import type { Judgement } from '../runtime/conditions.ts';
import type { Place } from './relay-group.ts';

const programmed = (status: Judgement['status'], reason: string, message: string): Judgement => ({
  type: 'Programmed',
  status,
  reason,
  message,
});

const DONE = 'Every ready replica goes by the current config.';

/**
 * Of a relay: every ready replica reports the hash of its config, and nothing keeps a replica from running. What was
 * known before stays while a replica was not asked yet, as after a start of the operator.
 */
export function relayProgrammed(
  group: RelayGroup | undefined,
  replicas: readonly RelayReplica[],
  conditions: readonly Judgement[] | undefined,
): Judgement {
  const hindered = replicas.find(({ problem }) => problem !== undefined);
  if (hindered?.problem) {
    const { reason, message } = hindered.problem;
    return programmed('False', reason, `Replica ${hindered.ordinal}: ${message}`);
  }
  if (!group) return programmed('False', 'NoConfig', 'There is no valid config yet.');
  if (group.replicas === 0) return programmed('True', 'NoReplicas', 'No replica is wanted.');
  const ready = replicas.filter(({ state }) => state === 'Ready');
  if (ready.length === 0) return programmed('False', 'NoReadyReplica', 'No replica is ready yet.');
  const behind = ready.filter(({ configHash }) => configHash !== group.configHash);
  const known = conditions?.find(({ type }) => type === 'Programmed');
  if (known && behind.length > 0 && behind.every(isUnasked)) {
    return programmed(known.status, known.reason, known.message);
  }
  const silent = behind.filter(({ silent: isSilent }) => isSilent);
  if (silent.length > 0 && silent.length === behind.length) return unknown(silent);
  const refusing = behind.find(({ configProblem }) => configProblem !== undefined);
  if (refusing) {
    const { ordinal, configProblem } = refusing;
    return programmed('False', 'ConfigRefused', `Replica ${ordinal} goes on by an earlier config. ${configProblem}`);
  }
  if (behind.length > 0) return programmed('False', 'Pending', `${ordinals(behind)} still at an earlier config.`);
  // Domains and users tell of their own entries.
  const complaint = ready.flatMap(({ rejected }) => rejected).find((text) => text.startsWith(`${CERTIFICATES}[`));
  if (complaint !== undefined) return programmed('False', 'RejectedByRelay', complaint);
  return programmed('True', 'Programmed', DONE);
}

const isUnasked = ({ state, configHash, silent }: RelayReplica): boolean =>
  state === 'Ready' && configHash === undefined && !silent;

/** They serve mail, but where the operator runs nobody can ask them. */
const unknown = (silent: readonly RelayReplica[]): Judgement =>
  programmed(
    'Unknown',
    'ReplicasSilent',
    `${ordinals(silent)} ready and cannot be asked which config is in force: the operator must be able to connect to the admin API of replicas.`,
  );

/** A relay as a domain or a user sees it. */
export interface RelayView {
  readonly name: string;
  readonly replicas: readonly RelayReplica[];
  /** By config hash: what a replica that reports this hash goes by. */
  readonly groups: ReadonlyMap<string, RelayGroup>;
}

/**
 * Of an entry in the config of relays: the config that each ready replica reports holds it, as it is now, and the
 * replica did not leave it out. As long as nothing was applied to a relay, or a replica was not asked, as after a start,
 * the hashes say nothing: what was known before stays.
 */
export function entryProgrammed(
  relays: readonly RelayView[],
  find: (group: RelayGroup) => Place | undefined,
  conditions: readonly Judgement[] | undefined,
): Judgement {
  const known = conditions?.find(({ type }) => type === 'Programmed');
  if (known && relays.some(({ groups, replicas }) => groups.size === 0 || replicas.some(isUnasked))) {
    return programmed(known.status, known.reason, known.message);
  }
  for (const relay of relays) {
    const hindrance = entryHindrance(relay, find);
    if (hindrance) return hindrance;
  }
  return programmed('True', 'Programmed', DONE);
}

function entryHindrance(
  { name, replicas, groups }: RelayView,
  find: (group: RelayGroup) => Place | undefined,
): Judgement | undefined {
  const ready = replicas.filter(({ state }) => state === 'Ready');
  if (ready.length === 0) return programmed('False', 'NoReadyReplica', `SmtpRelay ${name} has no ready replica.`);
  const behind: RelayReplica[] = [];
  for (const replica of ready) {
    const group = groups.get(replica.configHash ?? '');
    const place = group && find(group);
    if (!place) {
      behind.push(replica);
      continue;
    }
    // As relays name what they leave out: FILE[INDEX], then what is wrong.
    const where = replica.rejected.length > 0 ? `${place.file}[${place.index()}]` : undefined;
    const complaint = where && replica.rejected.find((text) => text.startsWith(where));
    if (complaint !== undefined) return programmed('False', 'RejectedByRelay', `SmtpRelay ${name}: ${complaint}`);
  }
  if (behind.length === 0) return undefined;
  return programmed('False', 'Pending', `SmtpRelay ${name}: ${ordinals(behind)} still at an earlier config.`);
}

const ordinals = (replicas: readonly RelayReplica[]): string =>
  replicas.length === 1
    ? `Replica ${replicas[0]?.ordinal} is`
    : `Replicas ${replicas.map(({ ordinal }) => ordinal).join(', ')} are`;
