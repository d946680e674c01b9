/** What a replica says of itself. It comes from another process, maybe of another version, and is checked here. */
import Type from 'typebox';
import Schema from 'typebox/schema';

const Report = Type.Object({
  version: Type.String(),
  /** Config in force. */
  configHash: Type.String(),
  /** Entries of the config that were left out. */
  rejected: Type.Array(Type.String()),
  /** Why a config that came after it is not in force. */
  configProblem: Type.Optional(Type.String()),
  draining: Type.Boolean(),
  queue: Type.Object({
    messages: Type.Integer({ minimum: 0 }),
    /** Messages that clients are about to hand over; absent from versions that do not say. */
    receiving: Type.Optional(Type.Integer({ minimum: 0 })),
  }),
  /** Why what is to be handed over is not. */
  handover: Type.Optional(Type.Object({ problem: Type.String() })),
});
export type ReplicaReport = Type.Static<typeof Report>;
const Answer = Schema.Compile(Report);

/** @throws {Error} when it is none */
export function replicaReport(text: string): ReplicaReport {
  const answer: unknown = JSON.parse(text);
  if (!Answer.Check(answer)) throw new Error('its status has another form than this version knows');
  return answer;
}

/** Nothing is queued, and nothing is about to be. */
export const holdsNothing = ({ queue }: ReplicaReport): boolean => queue.messages === 0 && (queue.receiving ?? 0) === 0;

/** It drains, and nothing is left that anyone could lose with it. */
export const isEmpty = (report: ReplicaReport): boolean => report.draining && holdsNothing(report);
