/**
 * The API over HTTP/1.1. What may write is asked twice: before a request is begun, and again when its body is about to
 * leave. A request without its whole body does nothing, so a process that was stopped in between writes nothing once it
 * goes on; what is left is the moment in which the bytes are handed to the system.
 */
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { Answered } from '../../metrics.ts';
import { NotLeader } from '../../runtime/lease.ts';
import { eventFrom, objectFrom, pageFrom, parsed, pluralsFrom, statusFrom } from './answers.ts';
import {
  type ApiKind,
  type ApiObject,
  type ApplyOptions,
  apiVersionOf,
  type DeleteOptions,
  FIELD_MANAGER,
  type KubernetesApi,
  type ListOptions,
  type LiveObject,
  type Page,
  type Patch,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from './api.ts';
import { ApiError, apiError, NotFound, Throttled, Unavailable } from './api-error.ts';
import type { Connection } from './connection.ts';

/** How long a list may take: a page of a large one, from a slow API server (ms). */
const READ_TIMEOUT_MS = 30_000;
/** How often, and after how long at most (ms), a request is sent again to an API server that says "later". */
const TRIES = 5;
const PATIENCE_MS = 5_000;

export interface ClientOptions {
  readonly connection: Connection;
  /** Tells processes apart in the audit log. */
  readonly userAgent: string;
  /** How long a write may take (ms): less than a lease is valid after its holder has given it up. */
  readonly writeTimeoutMs: number;
  /** @throws {NotLeader} when this process may not write (any more) */
  readonly mayWrite: () => void;
  readonly answered?: (answer: Answered) => void;
}

interface Asked {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
}

type Response = Dispatcher.ResponseData;

/** How a request is sent, and when it is given up: each time that it is sent, or all in all. */
type Way = { readonly dispatcher: Dispatcher } & (
  | { readonly timeoutMs: number; readonly signal?: undefined }
  | { readonly signal: AbortSignal; readonly timeoutMs?: undefined }
);

export class Client implements KubernetesApi {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** The same connections, for other writes. */
  with(options: Partial<Pick<ClientOptions, 'mayWrite' | 'writeTimeoutMs'>>): Client {
    return new Client({ ...this.#options, ...options });
  }

  async get(kind: ApiKind, key: ObjectKey): Promise<LiveObject> {
    return this.#object(kind, { method: 'GET', path: pathOf(kind, key.namespace, key.name) });
  }

  async list(kind: ApiKind, { namespace, ...query }: ListOptions): Promise<Page> {
    const asked: Asked = { method: 'GET', path: pathOf(kind, namespace), query };
    return pageFrom(nameOf(asked), kind, await this.#ask(asked));
  }

  async *watch(kind: ApiKind, options: WatchOptions): AsyncIterable<WatchEvent> {
    const { namespace, labelSelector, fieldSelector, resourceVersion, timeoutSeconds, signal } = options;
    const query = { labelSelector, fieldSelector, resourceVersion, timeoutSeconds };
    const asked: Asked = {
      method: 'GET',
      path: pathOf(kind, namespace),
      query: { ...query, watch: true, allowWatchBookmarks: true },
    };
    const response = await this.#send(asked, { dispatcher: this.#options.connection.watches, signal });
    for await (const line of linesOf(response.body, nameOf(asked))) yield eventFrom(nameOf(asked), kind, line);
  }

  async create(kind: ApiKind, object: ApiObject): Promise<LiveObject> {
    const path = pathOf(kind, object.metadata.namespace);
    return this.#object(kind, { method: 'POST', path, query: { fieldManager: FIELD_MANAGER }, body: object });
  }

  async apply(kind: ApiKind, object: ApiObject, { force, subresource }: ApplyOptions): Promise<LiveObject> {
    const { namespace, name } = object.metadata;
    return this.#object(kind, {
      method: 'PATCH',
      path: pathOf(kind, namespace, name, subresource),
      query: { fieldManager: FIELD_MANAGER, force },
      body: object,
      contentType: 'application/apply-patch+yaml',
    });
  }

  async patch(kind: ApiKind, key: ObjectKey, patch: Patch, { subresource }: WriteOptions = {}): Promise<LiveObject> {
    return this.#object(kind, {
      method: 'PATCH',
      path: pathOf(kind, key.namespace, key.name, subresource),
      query: { fieldManager: FIELD_MANAGER },
      body: patch,
      contentType: Array.isArray(patch) ? 'application/json-patch+json' : 'application/merge-patch+json',
    });
  }

  async delete(kind: ApiKind, key: ObjectKey, options: DeleteOptions = {}): Promise<void> {
    const { uid, resourceVersion, propagation = 'Background' } = options;
    const preconditions = { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
    await this.#ask({
      method: 'DELETE',
      path: pathOf(kind, key.namespace, key.name),
      body: { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: propagation, preconditions },
    });
  }

  async served(group: string, version: string): Promise<ReadonlySet<string>> {
    const asked: Asked = { method: 'GET', path: rootOf({ group, version }) };
    try {
      return pluralsFrom(nameOf(asked), await this.#ask(asked));
    } catch (error) {
      if (error instanceof NotFound) return new Set();
      throw error;
    }
  }

  async #object(kind: ApiKind, asked: Asked): Promise<LiveObject> {
    return objectFrom(nameOf(asked), kind, await this.#ask(asked));
  }

  async #ask(asked: Asked): Promise<unknown> {
    const { connection, writeTimeoutMs } = this.#options;
    const timeoutMs = asked.method === 'GET' ? READ_TIMEOUT_MS : writeTimeoutMs;
    const response = await this.#send(asked, { dispatcher: connection.requests, timeoutMs });
    return parsed(nameOf(asked), await bodyOf(response, nameOf(asked)));
  }

  /**
   * Asks again, as it is told to, when the API server has too much to do: nothing was done then.
   * @throws {ApiError} unless the answer is good
   */
  async #send(asked: Asked, way: Way): Promise<Response> {
    for (let refused = 0; ; refused++) {
      try {
        return await this.#sendOnce(asked, way);
      } catch (error) {
        const patient = error instanceof Throttled && refused < TRIES && error.retryAfterMs <= PATIENCE_MS;
        if (!patient || way.signal?.aborted) throw error;
        await sleep(error.retryAfterMs, undefined, way.signal && { signal: way.signal }).catch(() => undefined);
      }
    }
  }

  async #sendOnce(asked: Asked, { dispatcher, signal, timeoutMs }: Way): Promise<Response> {
    const beganMs = performance.now();
    let code = '<error>';
    try {
      if (asked.method !== 'GET') this.#options.mayWrite();
      const response = await dispatcher.request({
        origin: this.#options.connection.server.origin,
        path: `${this.#options.connection.server.pathname.replace(/\/$/, '')}${asked.path}${queryText(this.#queryOf(asked))}`,
        method: asked.method,
        headers: { ...(await this.#headers()), ...this.#contentOf(asked) },
        ...(asked.body !== undefined && { body: this.#guarded(JSON.stringify(asked.body)) }),
        signal: signal ?? AbortSignal.timeout(timeoutMs ?? READ_TIMEOUT_MS),
        headersTimeout: READ_TIMEOUT_MS,
        // The signal says when it is enough.
        bodyTimeout: 0,
      });
      code = String(response.statusCode);
      if (response.statusCode < 300) return response;
      const answer = await bodyOf(response, nameOf(asked));
      throw apiError(nameOf(asked), response.statusCode, statusFrom(jsonOr(answer)), retryAfterOf(response));
    } catch (error) {
      throw toApiError(error, nameOf(asked));
    } finally {
      const { host } = this.#options.connection.server;
      this.#options.answered?.({ host, method: asked.method, code, seconds: (performance.now() - beganMs) / 1_000 });
    }
  }

  /** The API server gives a write up when we do, so that it does not take effect later. */
  #queryOf({ method, query }: Asked): Asked['query'] {
    return method === 'GET' ? query : { ...query, timeout: `${this.#options.writeTimeoutMs}ms` };
  }

  async #headers(): Promise<Record<string, string>> {
    const credentials = await this.#options.connection.credentials();
    return { ...credentials, accept: 'application/json', 'user-agent': this.#options.userAgent };
  }

  #contentOf({ body, contentType = 'application/json' }: Asked): Record<string, string> {
    if (body === undefined) return {};
    return { 'content-type': contentType, 'content-length': String(Buffer.byteLength(JSON.stringify(body))) };
  }

  #guarded(body: string): Readable {
    const { mayWrite } = this.#options;
    const chunks = function* (): Iterable<Buffer> {
      mayWrite();
      yield Buffer.from(body);
    };
    return Readable.from(chunks(), { objectMode: false });
  }
}

const nameOf = ({ method, path }: Asked): string => `${method} ${path}`;

const rootOf = (kind: Pick<ApiKind, 'group' | 'version'>): string =>
  kind.group === '' ? `/api/${kind.version}` : `/apis/${apiVersionOf(kind)}`;

/** Of all objects of a kind, those of a namespace, or one. */
function pathOf(kind: ApiKind, namespace: string | undefined, name?: string, subresource?: string): string {
  const parts = [...(namespace ? ['namespaces', namespace] : []), kind.plural, name, subresource];
  const path = parts.filter((part) => part !== undefined).map(encodeURIComponent);
  return [rootOf(kind), ...path].join('/');
}

function queryText(query: Asked['query'] = {}): string {
  const parts = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] satisfies [string, string]],
  );
  return parts.length === 0 ? '' : `?${new URLSearchParams(parts).toString()}`;
}

const retryAfterOf = ({ headers }: Response): string | undefined => {
  const value = headers['retry-after'];
  return Array.isArray(value) ? value[0] : value;
};

async function bodyOf(response: Response, asked: string): Promise<string> {
  try {
    return await text(response.body);
  } catch (error) {
    throw toApiError(error, asked);
  }
}

function jsonOr(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return body;
  }
}

async function* linesOf(body: Readable, asked: string): AsyncIterable<string> {
  let rest = '';
  try {
    for await (const chunk of body.setEncoding('utf8')) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines.filter((line) => line !== '');
    }
  } catch (error) {
    throw toApiError(error, asked);
  }
}

function toApiError(error: unknown, asked: string): ApiError | NotLeader {
  if (error instanceof ApiError || error instanceof NotLeader) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  const why = cause.name === 'TimeoutError' ? 'no answer in time' : cause.message;
  return new Unavailable(`${asked}: ${why}`, { cause });
}
