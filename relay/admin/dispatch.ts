/** Requests to the admin API: who asks is told first, then which route is meant, whether it is allowed, what it says. */
import { type IncomingMessage, type RequestListener, type ServerResponse, STATUS_CODES } from 'node:http';
import { SpoolUnavailable } from '../spool/spool.ts';
import { type Caller, Problem, type Route } from './route.ts';

export interface DispatchOptions {
  readonly routes: readonly Route[];
  /** @throws {Problem} 401 */
  readonly authenticate: (request: IncomingMessage) => Promise<Caller>;
  /** Faults of ours. */
  readonly problem: (error: unknown) => void;
}

/** For a body that is read into memory, as a whole; and between the bytes of one that is not. */
const BODY_MS = 10_000;
const SILENCE_MS = 30_000;

export function dispatcher({ routes, authenticate, problem }: DispatchOptions): RequestListener {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    try {
      const caller = await authenticate(request);
      const url = new URL(request.url ?? '/', 'http://replica');
      const { route, params } = find(routes, request.method ?? 'GET', url.pathname);
      if (route.role === 'operate' && caller.role !== 'operate') {
        throw new Problem(403, `this needs the role operate, and the ${caller.name} has the role ${caller.role}`);
      }
      if (!route.body && route.method === 'POST') request.setTimeout(SILENCE_MS);
      const body = route.body ? await readJson(request, route.largestBodyBytes) : undefined;
      const value = await route.handle({
        params,
        query: url.searchParams,
        body,
        content: request,
        caller,
        signal: gone.signal,
      });
      send(response, 200, 'application/json', value, request.method);
    } catch (error) {
      refuse(error, request, response, problem);
    }
  };
  return (request, response) => void answer(request, response);
}

function refuse(
  error: unknown,
  request: IncomingMessage,
  response: ServerResponse,
  problem: (error: unknown) => void,
): void {
  const known = error instanceof Problem || error instanceof SpoolUnavailable;
  // Whoever hung up in the middle of a request has no use for an answer, and it is no fault of ours.
  if (!known && request.destroyed && !request.complete) return;
  if (!known) problem(error);
  const status = error instanceof Problem ? error.status : known ? 503 : 500;
  const detail = known ? error.message : 'the replica failed to answer; its log says why';
  if (error instanceof WrongMethod) response.setHeader('allow', error.allowed.join(', '));
  // What is left of a body that nobody reads must not be taken for the next request.
  if (!request.complete) response.setHeader('connection', 'close');
  send(
    response,
    status,
    'application/problem+json',
    { title: STATUS_CODES[status] ?? 'Error', status, detail },
    request.method,
  );
}

function send(
  response: ServerResponse,
  status: number,
  type: string,
  value: unknown,
  method: string | undefined,
): void {
  if (response.destroyed) return;
  const text = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(method === 'HEAD' ? undefined : text);
}

class WrongMethod extends Problem {
  readonly allowed: readonly string[];

  constructor(method: string, allowed: readonly string[]) {
    super(405, `there is no ${method} here, only ${allowed.join(', ')}`);
    this.allowed = allowed;
  }
}

function find(
  routes: readonly Route[],
  method: string,
  path: string,
): { route: Route; params: Readonly<Record<string, string>> } {
  const here = routes.flatMap((route) => {
    const params = match(route.path, path);
    return params ? [{ route, params }] : [];
  });
  if (here.length === 0) throw new Problem(404, `there is no ${path} here; /v1/openapi.json lists what there is`);
  // A path that is written out goes before one with a parameter in its place.
  const wanted = method === 'HEAD' ? 'GET' : method;
  const [found] = here
    .filter(({ route }) => route.method === wanted)
    .sort((a, b) => Object.keys(a.params).length - Object.keys(b.params).length);
  if (!found) throw new WrongMethod(method, [...new Set(here.map(({ route }) => route.method))]);
  return found;
}

function match(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, segment] of wanted.entries()) {
    const text = given[index] ?? '';
    const name = /^\{(\w+)\}$/.exec(segment)?.[1];
    if (name === undefined) {
      if (segment !== text) return undefined;
    } else if (text === '') return undefined;
    else params[name] = decoded(text);
  }
  return params;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Problem(400, 'the path is wrong: an escape in it is not UTF-8');
  }
}

async function readJson(request: IncomingMessage, largestBytes: number): Promise<unknown> {
  const type = request.headers['content-type'];
  if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type)) {
    throw new Problem(415, `the body must be application/json, not ${type}`);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => request.destroy(), BODY_MS);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > largestBytes) throw new Problem(413, `the body is larger than ${largestBytes} bytes`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Problem(400, 'the body is no JSON');
  }
}
