/** What an API server answers, checked once where it comes in. The rest of an object is checked by who reads it. */
import Type from 'typebox';
import Schema from 'typebox/schema';
import { type ApiKind, apiVersionOf, type LiveMeta, type LiveObject, type Page, type WatchEvent } from './api.ts';
import { apiError, type StatusDetails, Unavailable } from './api-error.ts';

const Strings = Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } });

const Meta = Type.Object({
  name: Type.String(),
  namespace: Type.Optional(Type.String()),
  uid: Type.String(),
  resourceVersion: Type.String(),
  creationTimestamp: Type.String(),
  generation: Type.Optional(Type.Number()),
  deletionTimestamp: Type.Optional(Type.String()),
  labels: Type.Optional(Strings),
  annotations: Type.Optional(Strings),
  finalizers: Type.Optional(Type.Array(Type.String())),
});
const OneObject = Schema.Compile(Type.Object({ metadata: Meta }));
const List = Schema.Compile(
  Type.Object({
    metadata: Type.Object({ resourceVersion: Type.String(), continue: Type.Optional(Type.String()) }),
    items: Type.Optional(Type.Union([Type.Null(), Type.Array(Type.Unknown())])),
  }),
);
const Event = Schema.Compile(Type.Object({ type: Type.String(), object: Type.Unknown() }));
const Bookmark = Schema.Compile(Type.Object({ metadata: Type.Object({ resourceVersion: Type.String() }) }));
const Status = Schema.Compile(
  Type.Object({
    code: Type.Optional(Type.Number()),
    reason: Type.Optional(Type.String()),
    message: Type.Optional(Type.String()),
    details: Type.Optional(
      Type.Object({
        causes: Type.Optional(
          Type.Array(Type.Object({ reason: Type.Optional(Type.String()), field: Type.Optional(Type.String()) })),
        ),
        retryAfterSeconds: Type.Optional(Type.Number()),
      }),
    ),
  }),
);
const Resources = Schema.Compile(Type.Object({ resources: Type.Array(Type.Object({ name: Type.String() })) }));

const strange = (asked: string): Unavailable => new Unavailable(`${asked}: not an answer of an API server`);

/** @throws {Unavailable} when it is none */
export function objectFrom(asked: string, kind: ApiKind, value: unknown): LiveObject {
  if (!OneObject.Check(value)) throw strange(asked);
  const metadata: LiveMeta = { namespace: '', ...value.metadata };
  // Items of a list of a core kind do not say what they are.
  return { ...value, apiVersion: apiVersionOf(kind), kind: kind.kind, metadata };
}

/** @throws {Unavailable} when it is none */
export function pageFrom(asked: string, kind: ApiKind, value: unknown): Page {
  if (!List.Check(value)) throw strange(asked);
  const { resourceVersion, continue: next } = value.metadata;
  return {
    items: (value.items ?? []).map((item) => objectFrom(asked, kind, item)),
    resourceVersion,
    ...(next && { continue: next }),
  };
}

/**
 * @param line of a watch
 * @throws what its ERROR event says, such as Gone
 */
export function eventFrom(asked: string, kind: ApiKind, line: string): WatchEvent {
  const event = parsed(asked, line);
  if (!Event.Check(event)) throw strange(asked);
  const { type, object } = event;
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object: objectFrom(asked, kind, object) };
    case 'BOOKMARK': {
      if (!Bookmark.Check(object)) throw strange(asked);
      return { type, resourceVersion: object.metadata.resourceVersion };
    }
    default: {
      const status = statusFrom(object);
      throw apiError(asked, status.code ?? 500, status);
    }
  }
}

/** The names of resources, those of subresources left out. */
export function pluralsFrom(asked: string, value: unknown): ReadonlySet<string> {
  if (!Resources.Check(value)) throw strange(asked);
  return new Set(value.resources.map(({ name }) => name).filter((name) => !name.includes('/')));
}

/** Whatever stands between may answer in HTML or not at all: then nothing but the code is known. */
export function statusFrom(value: unknown): StatusDetails {
  if (!Status.Check(value)) return typeof value === 'string' ? { message: value.slice(0, 500) } : {};
  const { details, ...status } = value;
  return { ...status, ...details };
}

/** @throws {Unavailable} when it is no JSON, such as half a line of a connection that broke */
export function parsed(asked: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw strange(asked);
  }
}
