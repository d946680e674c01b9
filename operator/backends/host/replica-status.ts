/** Asks a replica how it is, over its admin socket. What it answers comes from another process and is checked here. */
import { Agent, get } from 'node:http';
import Type from 'typebox';
import Schema from 'typebox/schema';

const ANSWER_LIMIT_BYTES = 1024 * 1024;
const TIMEOUT_MS = 5_000;

const ReplicaStatus = Type.Object({
  version: Type.String(),
  /** Config in force. */
  configHash: Type.String(),
  /** Entries of the config that were left out. */
  rejected: Type.Array(Type.String()),
  /** Why a config that came after it is not in force. */
  configProblem: Type.Optional(Type.String()),
  ready: Type.Boolean(),
  draining: Type.Boolean(),
  queue: Type.Object({ messages: Type.Integer({ minimum: 0 }) }),
  /** Why what is to be handed over is not. */
  handover: Type.Optional(Type.Object({ problem: Type.String() })),
  /** Why it is not ready. */
  reasons: Type.Array(Type.String()),
});
export type ReplicaStatus = Type.Static<typeof ReplicaStatus>;
const Answer = Schema.Compile(ReplicaStatus);

/** The socket stays connected between questions. */
export const statusAgent = (): Agent => new Agent({ keepAlive: true, maxSockets: 1 });

/** @throws {Error} when the replica does not answer, or not as it should */
export function askStatus(socketPath: string, agent: Agent): Promise<ReplicaStatus> {
  return new Promise((resolve, reject) => {
    const request = get({ socketPath, path: '/v1/status', agent, timeout: TIMEOUT_MS }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_LIMIT_BYTES) response.destroy(new Error('its answer is too long'));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(statusFrom(response.statusCode, Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    request.on('error', reject);
  });
}

function statusFrom(code: number | undefined, body: string): ReplicaStatus {
  if (code !== 200) throw new Error(`it answers ${code}`);
  const answer: unknown = JSON.parse(body);
  if (!Answer.Check(answer)) throw new Error('its status has another form than this version knows');
  return answer;
}
