/**
 * Stands between an operator and an API server, on loopback, and does to it what networks and busy API servers do:
 * refuses, fails, waits, cuts, falls silent. It asks as the administrator, whoever asks it.
 *
 * ```ts
 * await using proxy = await ApiProxy.start(api);
 * proxy.rule = ({ method }) => (method === 'GET' ? { pass: true } : { answer: 429, headers: { 'retry-after': '1' } });
 * ```
 */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Agent, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiServer } from './api-server.ts';

export interface Asked {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly userAgent: string;
  readonly watch: boolean;
}

/** What becomes of a request. */
export type Verdict =
  | { readonly pass: true; readonly afterMs?: number }
  /** Answered in place of the API server. */
  | { readonly answer: number; readonly headers?: OutgoingHttpHeaders }
  /** The connection ends: before the API server is asked, or once it has done what was asked. */
  | { readonly cut: 'before' | 'after' };

/** The client library wants to be told that plain HTTP is meant. */
const PLAIN = { 'insecure-skip-tls-verify': true };

interface Kubeconfig {
  readonly clusters: readonly { readonly cluster: { readonly 'certificate-authority-data': string } }[];
  readonly users: readonly { readonly user: Readonly<Record<string, string>> }[];
}

export class ApiProxy implements AsyncDisposable {
  readonly kubeconfig: string;
  /** All that was asked, in order. */
  readonly asked: Asked[] = [];
  rule: (asked: Asked) => Verdict | Promise<Verdict> = () => ({ pass: true });
  readonly #server: Server;
  readonly #agent: Agent;
  readonly #upstream: string;
  readonly #watches = new Map<ServerResponse, { readonly asked: Asked; muted: boolean }>();

  private constructor(kubeconfig: string, server: Server, agent: Agent, upstream: string) {
    this.kubeconfig = kubeconfig;
    this.#server = server;
    this.#agent = agent;
    this.#upstream = upstream;
    server.on('request', (message, response) => void this.#serve(message, response).catch(() => response.destroy()));
  }

  static async start(api: ApiServer): Promise<ApiProxy> {
    const { clusters, users } = JSON.parse(await readFile(api.kubeconfig, 'utf8')) as Kubeconfig;
    const pem = (base64 = ''): Buffer => Buffer.from(base64, 'base64');
    const user = users[0]?.user ?? {};
    const agent = new Agent({
      keepAlive: true,
      ca: pem(clusters[0]?.cluster['certificate-authority-data']),
      cert: pem(user['client-certificate-data']),
      key: pem(user['client-key-data']),
    });
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const file = join(dirname(api.kubeconfig), `proxy-${port}.kubeconfig`);
    const config = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'proxy' },
      clusters: [{ name: 'proxy', cluster: { server: `http://127.0.0.1:${port}`, ...PLAIN } }],
      users: [{ name: 'proxy', user: {} }],
      contexts: [{ name: 'proxy', context: { cluster: 'proxy', user: 'proxy' } }],
    };
    await writeFile(file, JSON.stringify(config));
    return new ApiProxy(file, server, agent, api.url);
  }

  /** Ends watches as a network does: in the middle. */
  cutWatches(which: (asked: Asked) => boolean = () => true): number {
    const cut = [...this.#watches].filter(([, { asked }]) => which(asked));
    for (const [response] of cut) response.destroy();
    return cut.length;
  }

  /** Watches of now stay open and tell nothing more. */
  muteWatches(which: (asked: Asked) => boolean = () => true): void {
    for (const watch of this.#watches.values()) watch.muted ||= which(watch.asked);
  }

  /** Requests that would change something. */
  writes(): readonly Asked[] {
    return this.asked.filter(({ method }) => method !== 'GET');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    this.#agent.destroy();
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = message;
    const asked: Asked = { method, url, userAgent: headers['user-agent'] ?? '', watch: /[?&]watch=true/.test(url) };
    this.asked.push(asked);
    const body = method === 'GET' ? undefined : await buffer(message);
    const verdict = await this.rule(asked);
    if ('answer' in verdict) {
      response.writeHead(verdict.answer, { 'content-type': 'application/json', ...verdict.headers });
      response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', message: 'by the test', code: verdict.answer }));
      return;
    }
    if ('cut' in verdict && verdict.cut === 'before') return void response.destroy();
    if ('pass' in verdict && verdict.afterMs) await pause(verdict.afterMs);
    const answer = await this.#ask(asked, headers, body);
    if ('cut' in verdict) {
      await buffer(answer);
      return void response.destroy();
    }
    this.#relay(asked, answer, response);
  }

  #relay(asked: Asked, answer: IncomingMessage, response: ServerResponse): void {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.on('error', () => response.destroy());
    response.on('close', () => {
      this.#watches.delete(response);
      answer.destroy();
    });
    if (!asked.watch) return void answer.pipe(response);
    const state = { asked, muted: false };
    this.#watches.set(response, state);
    answer.on('data', (chunk) => {
      if (!state.muted) response.write(chunk);
    });
    answer.on('end', () => {
      if (!state.muted) response.end();
    });
  }

  async #ask({ method, url }: Asked, headers: IncomingHttpHeaders, body: Buffer | undefined): Promise<IncomingMessage> {
    const { host: _, connection: __, ...others } = headers;
    const upstream = request(`${this.#upstream}${url}`, { method, headers: others, agent: this.#agent });
    const answered = once(upstream, 'response');
    upstream.end(body);
    const [answer] = (await answered) as [IncomingMessage];
    return answer;
  }
}
