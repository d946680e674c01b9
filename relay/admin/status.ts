/** What a replica says of itself, to the CLI and to its supervisor. */
import Type from 'typebox';
import packageJson from '../../package.json' with { type: 'json' };
import type { LiveConfig } from '../config/live-config.ts';
import type { Receiver } from '../receive/receiver.ts';
import type { Spool } from '../spool/spool.ts';

export const ReplicaStatus = Type.Object({
  ordinal: Type.Integer({ minimum: 0 }),
  version: Type.String(),
  /** Config in force: hex SHA-256 of its index. */
  configHash: Type.String(),
  /** Entries of the config that were left out, with file and field. */
  rejected: Type.Array(Type.String()),
  /** Why a config that came after it is not in force; absent where none came, or it is being read. */
  configProblem: Type.Optional(Type.String()),
  ready: Type.Boolean(),
  /** No longer wanted: greets 421 and delivers what it holds. */
  draining: Type.Boolean(),
  queue: Type.Object({
    messages: Type.Integer({ minimum: 0 }),
    deliveries: Type.Integer({ minimum: 0 }),
    /** Messages that move to another replica and are still here; absent when there are none. */
    moving: Type.Optional(Type.Integer({ minimum: 0 })),
    /** Transactions of clients that are under way: each may become one more; absent when there are none. */
    receiving: Type.Optional(Type.Integer({ minimum: 0 })),
    oldestMs: Type.Optional(Type.Number()),
  }),
  /** Why messages that are to be handed over are not. */
  handover: Type.Optional(Type.Object({ problem: Type.String() })),
  /** Why it is not ready. */
  reasons: Type.Array(Type.String()),
});
export type ReplicaStatus = Type.Static<typeof ReplicaStatus>;

export interface StatusParts {
  readonly ordinal: number;
  readonly config: Pick<LiveConfig, 'current' | 'problem'>;
  readonly spool: Pick<Spool, 'health' | 'stats'>;
  readonly receiver: Pick<Receiver, 'transactions'>;
  /** Why it does not do its work; undefined: it does. */
  readonly handover: { readonly problem: string | undefined };
  readonly monitoring: { readonly problem: string | undefined };
  readonly accepting: { readonly problem: string | undefined };
  readonly phase: { readonly listening: boolean; readonly stopping: boolean };
}

export async function replicaStatus(parts: StatusParts): Promise<ReplicaStatus> {
  const { ordinal, spool, handover, receiver } = parts;
  // Counted first: a message that is committed in between is counted twice rather than not at all.
  const receiving = receiver.transactions;
  const { hash, replicas, rejected } = parts.config.current();
  const reasons = unreadiness(parts);
  return {
    ordinal,
    version: packageJson.version,
    configHash: hash,
    rejected: [...rejected],
    ...(parts.config.problem !== undefined && { configProblem: parts.config.problem }),
    ready: reasons.length === 0,
    draining: ordinal >= replicas,
    queue: { ...(await spool.stats()), ...(receiving > 0 && { receiving }) },
    ...(handover.problem !== undefined && { handover: { problem: handover.problem } }),
    reasons,
  };
}

/**
 * A drain is no reason to be unready: an unready pod holds up every rollout, here for as long as its mail waits. Clients
 * are kept off by the greeting, 421, and by the operator, which decides whom they are sent to.
 */
function unreadiness({ spool, monitoring, accepting, phase }: StatusParts): string[] {
  const { hindrance } = spool.health();
  return [
    ...(phase.listening ? [] : ['not listening yet']),
    ...(phase.stopping ? ['stopping'] : []),
    // A full queue is no reason either: its clients are told 452, and it is emptied by itself.
    ...(hindrance === undefined || hindrance.kind === 'full' ? [] : [hindrance.problem]),
    ...[monitoring.problem, accepting.problem].filter((problem) => problem !== undefined),
  ];
}
