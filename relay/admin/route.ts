/**
 * A route of the admin API: what it takes and answers, as schemas, and what it does. The server checks by them, and the
 * OpenAPI document is made of them, so neither can say something else than the code.
 */
import Type, { type Static, type TObject, type TSchema } from 'typebox';
import Schema from 'typebox/schema';

/** view: looks. operate: changes what becomes of mail. */
export type Role = 'view' | 'operate';

/** Who asks: for the log. */
export interface Caller {
  readonly role: Role;
  /** `socket`, `view token`, `operate token`. */
  readonly name: string;
}

export interface Ask<Query = unknown, Body = unknown> {
  /** Of the path, by name. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  /** The body as it comes in, of a route that has no schema for it. */
  readonly content: AsyncIterable<Buffer>;
  readonly caller: Caller;
  /** Aborted once the client is gone. */
  readonly signal: AbortSignal;
}

export interface RouteSpec<Query extends TObject, Body extends TSchema, Answer extends TSchema> {
  readonly method: 'GET' | 'POST';
  /** Parameters stand in braces and take the place of one segment: `/v1/queue/{id}`. */
  readonly path: string;
  readonly role: Role;
  readonly summary: string;
  /** Texts, whole numbers and booleans; others than these are refused. */
  readonly query?: Query;
  readonly body?: Body;
  /** More than 64 KiB is for what needs it. */
  readonly largestBodyBytes?: number;
  readonly answer: Answer;
  /** @throws {Problem} what the client is told */
  readonly handle: (ask: Ask<Static<Query>, Static<Body>>) => Promise<Static<Answer>>;
}

export interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly role: Role;
  readonly summary: string;
  readonly query: TObject;
  readonly body: TSchema | undefined;
  readonly largestBodyBytes: number;
  readonly answer: TSchema;
  /** @throws {Problem} */
  readonly handle: (
    ask: Omit<Ask, 'query' | 'body'> & { readonly query: URLSearchParams; readonly body: unknown },
  ) => Promise<unknown>;
}

const LARGEST_BODY_BYTES = 64 * 1024;

/** What went wrong, for a person at the other end (RFC 9457). */
export class Problem extends Error {
  override readonly name = 'Problem';
  /** HTTP status. */
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

export function route<
  Answer extends TSchema,
  Query extends TObject = ReturnType<typeof nothing>,
  Body extends TSchema = TSchema,
>(spec: RouteSpec<Query, Body, Answer>): Route {
  const { method, path, role, summary, body, answer, handle, largestBodyBytes = LARGEST_BODY_BYTES } = spec;
  const query = spec.query ?? nothing();
  const checkQuery = checker<Query>('the query', query);
  const checkBody = body ? checker<Body>('the body', body) : (value: unknown) => value as Static<Body>;
  return {
    ...{ method, path, role, summary, query, body, largestBodyBytes, answer },
    handle: (ask) => handle({ ...ask, query: checkQuery(parsed(query, ask.query)), body: checkBody(ask.body) }),
  };
}

const nothing = () => Type.Object({}, { additionalProperties: false });

function checker<Shape extends TSchema>(what: string, shape: TSchema): (value: unknown) => Static<Shape> {
  const compiled = Schema.Compile(shape);
  return (value) => {
    if (compiled.Check(value)) return value as Static<Shape>;
    const [, [first]] = compiled.Errors(value);
    const where = first?.instancePath ? `${first.instancePath.slice(1).replaceAll('/', '.')} ` : '';
    throw new Problem(400, `${what} is wrong: ${where}${first?.message ?? 'is not as the API document says'}`);
  };
}

/** A query as its schema types it; what is no number or boolean is left as it is, for the check to refuse. */
function parsed(shape: TObject, query: URLSearchParams): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, text] of query) {
    if (name in values) throw new Problem(400, `the query is wrong: ${name} stands there twice`);
    if (!(name in shape.properties)) throw new Problem(400, `the query is wrong: ${name} is unknown`);
    values[name] = typed(shape.properties[name], text);
  }
  return values;
}

function typed(shape: TSchema | undefined, text: string): unknown {
  const type = shape && 'type' in shape ? shape.type : undefined;
  if (type === 'integer' && /^[0-9]{1,15}$/.test(text)) return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}
