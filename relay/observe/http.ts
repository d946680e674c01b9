/** Serves HTTP: monitoring, for anyone who may watch; the admin API (relay/admin) listens by the same code. */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { ListenOptions } from 'node:net';
import type { ReplicaStatus } from '../admin/status.ts';
import type { Metrics } from './metrics.ts';

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly text: string;
}

export type Handler = (path: string, query: URLSearchParams) => Promise<Answer>;

const plain = (code: number, text: string): Answer => ({ code, type: 'text/plain; charset=utf-8', text: `${text}\n` });

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

/** Answers what may be looked at. */
export function monitoringListener(handler: Handler, problem: (error: unknown) => void): RequestListener {
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
  return (request, response) => void answer(request, response);
}

/** Clients that hang must not keep others out for long. */
export const HTTP_LIMITS = { requestTimeout: 10_000, headersTimeout: 5_000 };
const CONNECTIONS = 100;

/**
 * Serves until close is called.
 *
 * @throws when the address is taken
 */
export async function serveHttp(
  where: ListenOptions,
  listener: RequestListener,
  problem: (error: unknown) => void,
  limits = HTTP_LIMITS,
): Promise<{ close(): Promise<void> }> {
  // A socket file of a predecessor that was killed would be in the way; the spool's lock says that it is gone.
  if (where.path !== undefined) await rm(where.path, { force: true });
  const serving = await listenHttp(createServer(limits, listener), where, problem);
  if (where.path !== undefined) await chmod(where.path, 0o600);
  return serving;
}

/** @throws when the address is taken */
export async function listenHttp(
  server: Server,
  where: ListenOptions,
  problem: (error: unknown) => void,
): Promise<{ close(): Promise<void> }> {
  server.maxConnections = CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => resolve());
  });
  server.on('error', problem);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
