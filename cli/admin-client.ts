/** Asks a replica through its admin API: HTTP on a unix socket under DIR/run. */
import { request } from 'node:http';
import { basename, dirname } from 'node:path';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { ReplicaStatus } from '../relay/admin/status.ts';

const ReplyFields = Type.Object({
  code: Type.Integer(),
  enhanced: Type.Optional(Type.String()),
  text: Type.String(),
  host: Type.Optional(Type.String()),
});

const QueuedMessage = Type.Object({
  queueId: Type.String(),
  envelope: Type.Object({
    mailFrom: Type.String(),
    arrivedMs: Type.Integer(),
    sizeBytes: Type.Integer(),
    messageId: Type.Optional(Type.String()),
    user: Type.Optional(Type.String()),
    network: Type.Optional(Type.String()),
    signAs: Type.Optional(Type.String()),
    client: Type.Optional(
      Type.Object({ address: Type.String(), helo: Type.String(), tls: Type.Optional(Type.String()) }),
    ),
  }),
  deliveries: Type.Array(
    Type.Object({
      destination: Type.String(),
      attempts: Type.Integer(),
      dueMs: Type.Optional(Type.Integer()),
      recipients: Type.Array(
        Type.Object({ address: Type.String(), state: Type.String(), lastReply: Type.Optional(ReplyFields) }),
      ),
    }),
  ),
});
export type QueuedMessage = Type.Static<typeof QueuedMessage>;

const Answers = {
  status: Schema.Compile(ReplicaStatus),
  queue: Schema.Compile(Type.Object({ messages: Type.Array(QueuedMessage) })),
  message: Schema.Compile(QueuedMessage),
};

/** The replica does not answer, or not as this version expects. */
export class ReplicaUnreachable extends Error {
  override readonly name = 'ReplicaUnreachable';
}

/** @throws {ReplicaUnreachable} */
export async function replicaStatus(socket: string): Promise<ReplicaStatus> {
  const { body } = await get(socket, '/v1/status');
  if (Answers.status.Check(body)) return body;
  throw unexpected(socket);
}

/**
 * The first messages of the queue, oldest first.
 * @throws {ReplicaUnreachable}
 */
export async function queuedMessages(socket: string, limit: number): Promise<readonly QueuedMessage[]> {
  const { body } = await get(socket, `/v1/queue?limit=${limit}`);
  if (Answers.queue.Check(body)) return body.messages;
  throw unexpected(socket);
}

/**
 * One message; undefined when the replica has none of that id.
 * @throws {ReplicaUnreachable}
 */
export async function queuedMessage(socket: string, queueId: string): Promise<QueuedMessage | undefined> {
  const { code, body } = await get(socket, `/v1/queue/${encodeURIComponent(queueId)}`);
  if (code === 404) return undefined;
  if (Answers.message.Check(body)) return body;
  throw unexpected(socket);
}

const unexpected = (socket: string): ReplicaUnreachable =>
  new ReplicaUnreachable(`${basename(socket)} does not answer as this version expects`);

const TIMEOUT_MS = 5_000;
/** A thousand messages of a thousand recipients fit; a replica that sends more is not believed. */
const LIMIT_BYTES = 256 * 1024 * 1024;

function get(socket: string, path: string): Promise<{ code: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => reject(new ReplicaUnreachable(`${basename(socket)}: ${error.message}`));
    const asking = request(
      { socketPath: reachable(socket), path, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          chunks.push(chunk);
          if (bytes > LIMIT_BYTES) response.destroy(new Error('answers too much'));
        });
        response.on('error', fail);
        response.on('end', () => {
          try {
            resolve({ code: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) });
          } catch {
            fail(new Error('does not answer in JSON'));
          }
        });
      },
    );
    asking.on('error', fail);
    asking.end();
  });
}

/** What fits into sockaddr_un: 108 bytes on Linux, 104 on macOS, one of them the final NUL. */
const LONGEST_PATH_BYTES = 103;

/** A path that is too long for a socket is reached from its folder. */
function reachable(socket: string): string {
  if (Buffer.byteLength(socket) <= LONGEST_PATH_BYTES) return socket;
  process.chdir(dirname(socket));
  return basename(socket);
}
