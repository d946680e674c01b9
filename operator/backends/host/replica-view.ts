/** What is told of one replica, from what is known of it. */
import type { RelayReplica } from '../../backend.ts';
import type { ReplicaStatus } from './replica-status.ts';

export interface ReplicaFacts {
  readonly ordinal: number;
  /** Its ordinal is among those that the relay wants. */
  readonly wanted: boolean;
  readonly process?: {
    /** What it last told; absent until it did, and when it has gone silent. */
    readonly status?: ReplicaStatus;
    readonly stopping: boolean;
    /** Of a port that the config names it has no socket. */
    readonly lacksPort: boolean;
  };
  /** Ends in a row that nobody asked for, and how the last one was. */
  readonly failures: number;
  readonly how?: string;
  /** It was drained, or its time was over. */
  readonly stopped: boolean;
  readonly queued?: boolean;
  /** Why a drain does not get on. */
  readonly stuck?: string;
  /** Why replicas cannot be started now. */
  readonly hindrance?: RelayReplica['problem'];
}

export function replicaView(facts: ReplicaFacts): RelayReplica {
  const { ordinal, wanted, process, queued, stuck } = facts;
  const status = process?.status;
  const problem = problemOf(facts);
  return {
    ordinal,
    state: stateOf(facts),
    rejected: status?.rejected ?? [],
    ...(status && { version: status.version, configHash: status.configHash }),
    ...(status?.configProblem !== undefined && { configProblem: status.configProblem }),
    // What a wanted replica holds changes all the time: its own metrics tell of it.
    ...(!wanted && queued !== undefined && { queued }),
    ...(!wanted && status && { left: status.queue.messages }),
    ...(!wanted && process && stuck !== undefined && { stuck }),
    ...(problem && { problem }),
  };
}

function stateOf({ wanted, process, failures, stopped }: ReplicaFacts): RelayReplica['state'] {
  if (!wanted) return stopped && !process ? 'Stopped' : 'Draining';
  if (!process?.status) return failures > 0 || process?.stopping ? 'Unready' : 'Starting';
  if (process.status.draining) return 'Draining';
  return process.status.ready && !process.stopping ? 'Ready' : 'Unready';
}

function problemOf(facts: ReplicaFacts): RelayReplica['problem'] | undefined {
  const { ordinal, wanted, process, hindrance, failures, how, stopped } = facts;
  if (hindrance && wanted && (!process || process.lacksPort)) return hindrance;
  if (process || failures === 0 || stopped) return undefined;
  return { reason: 'ReplicaFailed', message: `replica ${ordinal} ${how}; it is started again` };
}
