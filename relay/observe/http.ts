/** Serves the two HTTP faces of a replica: monitoring on TCP, for anyone who may watch, and the admin API on a socket. */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ListenOptions } from 'node:net';
import type { Spool } from '../spool/spool.ts';
import type { ReplicaStatus } from './admin-api.ts';
import type { Metrics } from './metrics.ts';

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly text: string;
}

export type Handler = (path: string, query: URLSearchParams) => Promise<Answer>;

const json = (code: number, value: unknown): Answer => ({
  code,
  type: 'application/json',
  text: `${JSON.stringify(value)}\n`,
});
const plain = (code: number, text: string): Answer => ({ code, type: 'text/plain; charset=utf-8', text: `${text}\n` });

const LARGEST_LIST = 10_000;

/** /metrics; /healthz: the process answers; /readyz: it does its work, or why not. */
export const monitoringHandler =
  (metrics: Metrics, status: () => Promise<ReplicaStatus>): Handler =>
  async (path) => {
    switch (path) {
      case '/metrics': {
        const { type, text } = await metrics.page();
        return { code: 200, type, text };
      }
      case '/healthz':
        return plain(200, 'ok');
      case '/readyz': {
        const { ready, reasons } = await status();
        return ready ? plain(200, 'ok') : plain(503, reasons.join('; ') || 'not ready');
      }
      default:
        return plain(404, 'here are /metrics, /healthz and /readyz');
    }
  };

export const adminHandler =
  (spool: Pick<Spool, 'list' | 'show'>, status: () => Promise<ReplicaStatus>): Handler =>
  async (path, query) => {
    if (path === '/v1/status') return json(200, await status());
    if (path === '/v1/queue') {
      const limit = Number(query.get('limit') ?? 100);
      if (!Number.isInteger(limit) || limit < 1 || limit > LARGEST_LIST) {
        return json(400, { error: `limit must be from 1 to ${LARGEST_LIST}` });
      }
      return json(200, { messages: await spool.list(limit) });
    }
    const id = /^\/v1\/queue\/([A-Za-z0-9]{1,64})$/.exec(path)?.[1];
    const message = id === undefined ? undefined : await spool.show(id);
    return message === undefined ? json(404, { error: 'no such message in the queue' }) : json(200, message);
  };

function serve(handler: Handler, problem: (error: unknown) => void): Server {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let result: Answer;
    try {
      const url = new URL(request.url ?? '/', 'http://replica');
      result =
        request.method === 'GET' || request.method === 'HEAD'
          ? await handler(url.pathname, url.searchParams)
          : plain(405, 'only GET and HEAD');
    } catch (error) {
      problem(error);
      result = plain(500, 'failed; see the log');
    }
    response.writeHead(result.code, { 'content-type': result.type });
    response.end(request.method === 'HEAD' ? undefined : result.text);
  };
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    void answer(request, response);
  });
  server.maxConnections = 100;
  return server;
}

/**
 * Serves until close is called.
 *
 * @throws when the address is taken
 */
export async function serveHttp(
  where: ListenOptions,
  handler: Handler,
  problem: (error: unknown) => void,
): Promise<{ close(): Promise<void> }> {
  // A socket file of a predecessor that was killed would be in the way; the spool's lock says that it is gone.
  if (where.path !== undefined) await rm(where.path, { force: true });
  const server = serve(handler, problem);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => resolve());
  });
  server.on('error', problem);
  if (where.path !== undefined) await chmod(where.path, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
