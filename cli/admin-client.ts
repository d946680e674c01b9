/** Asks a replica through its admin API: HTTP on a unix socket under DIR/run. */
import { request } from 'node:http';
import { basename, dirname } from 'node:path';
import Type, { type Static } from 'typebox';
import Schema from 'typebox/schema';
import type { Action } from '../relay/admin/actions.ts';
import { type ActionBody, ActionResult, Counts, type Filter, Message, SearchPage } from '../relay/admin/shapes.ts';
import { ReplicaStatus } from '../relay/admin/status.ts';
import { Failure } from './failure.ts';

export type QueuedMessage = Message;

const Answers = {
  status: Schema.Compile(ReplicaStatus),
  page: Schema.Compile(SearchPage),
  message: Schema.Compile(Message),
  counts: Schema.Compile(Counts),
  result: Schema.Compile(ActionResult),
  problem: Schema.Compile(Type.Object({ detail: Type.String() })),
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
 * A page of the messages that match, oldest first.
 *
 * @param after `next` of the page before
 * @throws {ReplicaUnreachable}
 */
export async function queuePage(
  socket: string,
  filter: Filter,
  limit: number,
  after: string | undefined,
): Promise<Static<typeof SearchPage>> {
  const query = new URLSearchParams({ limit: String(limit), ...(after !== undefined && { after }) });
  for (const [name, value] of Object.entries(filter)) query.set(name, String(value));
  const { body } = await get(socket, `/v1/queue?${query.toString()}`);
  if (Answers.page.Check(body)) return body;
  throw unexpected(socket);
}

/**
 * One message; undefined when the replica has none of that id.
 *
 * @throws {ReplicaUnreachable}
 */
export async function queuedMessage(socket: string, queueId: string): Promise<QueuedMessage | undefined> {
  const { code, body } = await get(socket, `/v1/queue/${encodeURIComponent(queueId)}`);
  if (code === 404) return undefined;
  if (Answers.message.Check(body)) return body;
  throw unexpected(socket);
}

/** @throws {ReplicaUnreachable} */
export async function queueCounts(socket: string): Promise<Counts> {
  const { body } = await get(socket, '/v1/counts', COUNT_TIMEOUT_MS);
  if (Answers.counts.Check(body)) return body;
  throw unexpected(socket);
}

/**
 * One step of an action; with a filter there may be more to do.
 *
 * @throws {ReplicaUnreachable} it may or may not have been done
 */
export async function actOnQueue(socket: string, action: Action, what: ActionBody): Promise<ActionResult> {
  const { body } = await ask(socket, `/v1/queue/${action}`, { method: 'POST', body: what, timeoutMs: ACT_TIMEOUT_MS });
  if (Answers.result.Check(body)) return body;
  throw unexpected(socket);
}

const unexpected = (socket: string): ReplicaUnreachable =>
  new ReplicaUnreachable(`${basename(socket)} does not answer as this version expects`);

const TIMEOUT_MS = 5_000;
/** A million messages are counted in seconds, on a machine that does other things too. */
const COUNT_TIMEOUT_MS = 60_000;
/** Some hundred messages, with their notices. */
const ACT_TIMEOUT_MS = 60_000;
/** A thousand messages of a thousand recipients fit; a replica that sends more is not believed. */
const LIMIT_BYTES = 256 * 1024 * 1024;

interface Answer {
  readonly code: number;
  readonly body: unknown;
}

const get = (socket: string, path: string, timeoutMs = TIMEOUT_MS): Promise<Answer> =>
  ask(socket, path, { method: 'GET', timeoutMs });

/** A replica that refuses says why; 404 is an answer, the others are failures. */
async function ask(
  socket: string,
  path: string,
  options: { method: 'GET' | 'POST'; body?: unknown; timeoutMs: number },
): Promise<Answer> {
  const answer = await exchange(socket, path, options);
  if (answer.code < 400 || answer.code === 404) return answer;
  const detail = Answers.problem.Check(answer.body) ? answer.body.detail : 'no reason given';
  if (answer.code < 500) throw new Failure(detail);
  throw new ReplicaUnreachable(`${basename(socket)} answers ${answer.code}: ${detail}`);
}

function exchange(
  socket: string,
  path: string,
  { method, body, timeoutMs }: { method: 'GET' | 'POST'; body?: unknown; timeoutMs: number },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const fail = (error: Error) => {
      const problem = signal.aborted ? `does not answer within ${timeoutMs / 1000} s` : error.message;
      reject(new ReplicaUnreachable(`${basename(socket)}: ${problem}`));
    };
    const asking = request(
      {
        ...{ socketPath: reachable(socket), path, method, agent: false, signal },
        ...(body !== undefined && { headers: { 'content-type': 'application/json' } }),
      },
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
    asking.end(body === undefined ? undefined : JSON.stringify(body));
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
