/** What a replica says of itself, to the CLI and to its supervisor. */
import Type from 'typebox';

export const ReplicaStatus = Type.Object({
  ordinal: Type.Integer({ minimum: 0 }),
  version: Type.String(),
  /** Config in force: hex SHA-256 of its index. */
  configHash: Type.String(),
  /** Entries of the config that were left out, with file and field. */
  rejected: Type.Array(Type.String()),
  ready: Type.Boolean(),
  /** No longer wanted: greets 421 and delivers what it holds. */
  draining: Type.Boolean(),
  queue: Type.Object({
    messages: Type.Integer({ minimum: 0 }),
    deliveries: Type.Integer({ minimum: 0 }),
    /** Messages that move to another replica and are still here; absent when there are none. */
    moving: Type.Optional(Type.Integer({ minimum: 0 })),
    oldestMs: Type.Optional(Type.Number()),
  }),
  /** Why messages that are to be handed over are not. */
  handover: Type.Optional(Type.Object({ problem: Type.String() })),
  /** Why it is not ready. */
  reasons: Type.Array(Type.String()),
});
export type ReplicaStatus = Type.Static<typeof ReplicaStatus>;
