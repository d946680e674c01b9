/** What the replicas of a relay say about it. */
import type { SmtpRelayStatus } from '../../crds/smtprelay.ts';
import type { RelayReplica } from '../backend.ts';
import { type Judgement, readyFrom } from '../runtime/conditions.ts';

const ordinals = (replicas: readonly RelayReplica[]): string => replicas.map(({ ordinal }) => ordinal).join(', ');

/** A queue that no process delivers: it waits for a replica of its ordinal. */
export function queueHealthy(replicas: readonly RelayReplica[]): Judgement {
  const type = 'QueueHealthy';
  const stranded = replicas.filter(({ state, queued }) => state === 'Stopped' && queued === true);
  if (stranded.length === 0) {
    return { type, status: 'True', reason: 'QueuesServed', message: 'Every queue has a replica that delivers it.' };
  }
  const highest = Math.max(...stranded.map(({ ordinal }) => ordinal));
  const message = `The spool of replica ${ordinals(stranded)} holds mail that nobody delivers: set spec.replicas to ${highest + 1} to take it up again.`;
  return { type, status: 'False', reason: 'StrandedQueue', message };
}

export function draining(replicas: readonly RelayReplica[]): Judgement {
  const type = 'Draining';
  const leaving = replicas.filter(({ state }) => state === 'Draining');
  if (leaving.length === 0) {
    return { type, status: 'False', reason: 'NotDraining', message: 'No replica is being drained.' };
  }
  const stuck = leaving.find((replica) => replica.stuck !== undefined);
  if (stuck) {
    const message = `Replica ${stuck.ordinal} has ${messages(stuck.left)} left and gets rid of none: ${stuck.stuck}.`;
    return { type, status: 'True', reason: 'Stuck', message };
  }
  const left = leaving.map(({ ordinal, left }) => `replica ${ordinal} has ${messages(left)} left`).join(', ');
  const message = `No longer wanted: ${left} to deliver or to hand over.`;
  return { type, status: 'True', reason: 'ReplicasLeaving', message };
}

const messages = (count: number | undefined): string => {
  if (count === undefined) return 'an unknown number of messages';
  return count === 1 ? '1 message' : `${count} messages`;
};

/** Ready: all is in force, and as many replicas as wanted take mail. */
export function relayReady(needed: readonly Judgement[], replicas: readonly RelayReplica[], wanted: number): Judgement {
  const ready = replicas.filter(({ state }) => state === 'Ready').length;
  if (wanted === 0) return readyFrom([...needed, notReady('NoReplicas', 'spec.replicas is 0: no mail is taken.')]);
  if (ready < wanted)
    return readyFrom([...needed, notReady('ReplicasNotReady', `${ready} of ${wanted} replicas are ready.`)]);
  return readyFrom(needed);
}

const notReady = (reason: string, message: string): Judgement => ({ type: 'Ready', status: 'False', reason, message });

/** The part of the status that only counts replicas. */
export function replicaStatus(
  replicas: readonly RelayReplica[],
  before: SmtpRelayStatus | undefined,
): Partial<SmtpRelayStatus> {
  const sorted = [...replicas].sort((a, b) => a.ordinal - b.ordinal);
  const ready = sorted.find(({ state }) => state === 'Ready');
  // One that was not asked yet, as after a start of the operator, is most likely what it was.
  const version = ready && (ready.version ?? before?.version);
  return {
    replicas: sorted.filter(({ state }) => state !== 'Stopped').length,
    readyReplicas: sorted.filter(({ state }) => state === 'Ready').length,
    replicaStates: sorted.map(({ ordinal, state, queued }) => ({
      ordinal,
      state,
      ...(queued !== undefined && { queued }),
    })),
    ...(version !== undefined && { version }),
  };
}
