/** What is told of one replica, from its pod, its claim and what it reports itself. */
import type { RelayReplica } from '../../backend.ts';
import type { Pod } from './pod.ts';
import { podProblem } from './pod-problem.ts';
import type { ReplicaReport } from './replica-report.ts';

export interface ReplicaFacts {
  readonly ordinal: number;
  /** Its ordinal is among those that the relay wants. */
  readonly wanted: boolean;
  readonly pod?: Pod | undefined;
  readonly claim?: { readonly marked: boolean } | undefined;
  /** What it last told; absent until it did, and when it has gone silent. */
  readonly report?: ReplicaReport | undefined;
  /** It was asked and does not answer. */
  readonly silent?: boolean | undefined;
  /** Why a drain does not get on. */
  readonly stuck?: string | undefined;
  /** What keeps all replicas from being brought to what is wanted. */
  readonly hindrance?: RelayReplica['problem'];
}

export function replicaView(facts: ReplicaFacts): RelayReplica {
  const { ordinal, wanted, pod, claim, report, silent, stuck, hindrance } = facts;
  const problem = (pod && podProblem(pod)) ?? (wanted ? hindrance : undefined);
  const left = report?.queue.messages;
  return {
    ordinal,
    state: stateOf(facts),
    rejected: report?.rejected ?? [],
    ...(silent && { silent }),
    ...(report && { version: report.version, configHash: report.configHash }),
    ...(report?.configProblem !== undefined && { configProblem: report.configProblem }),
    // What a wanted replica holds changes all the time: its own metrics tell of it.
    ...(!wanted && { ...queuedOf(claim, left), ...(left !== undefined && { left }) }),
    ...(!wanted && stuck !== undefined && { stuck }),
    ...(problem && { problem }),
  };
}

function queuedOf(claim: ReplicaFacts['claim'], left: number | undefined): Pick<RelayReplica, 'queued'> {
  if (claim?.marked) return { queued: false };
  return left === undefined ? {} : { queued: left > 0 };
}

function stateOf({ wanted, pod, claim }: ReplicaFacts): RelayReplica['state'] {
  if (!wanted) return pod || !claim?.marked ? 'Draining' : 'Stopped';
  if (!pod) return 'Starting';
  if (pod.ready && !pod.deleting) return 'Ready';
  const { relay } = pod;
  return pod.deleting || (relay && (relay.started || relay.restarts > 0)) ? 'Unready' : 'Starting';
}
