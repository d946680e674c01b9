/** The admin API as an OpenAPI 3.1 document, made of the routes by which it is served. */
import Type, { type TSchema } from 'typebox';
import packageJson from '../../package.json' with { type: 'json' };
import type { Route } from './route.ts';
import { TOKEN_HEADER } from './tokens.ts';

const ProblemShape = Type.Object({ title: Type.String(), status: Type.Integer(), detail: Type.String() });

const REFUSALS: Readonly<Record<number, string>> = {
  400: 'The query or the body is wrong',
  401: 'The token is missing or wrong',
  403: 'The token may only look',
  404: 'It is not there',
  413: 'The body is too large',
  415: 'The body is of another type',
  503: 'The queue cannot be read or changed now',
};

export interface OpenApiDocument {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

export function openApiDocument(routes: readonly Route[]): OpenApiDocument & Readonly<Record<string, unknown>> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const operations = paths[route.path] ?? {};
    paths[route.path] = operations;
    operations[route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Admin API of a Chasqui replica',
      version: packageJson.version,
      description:
        'On the unix socket of a replica whoever may open it has all rights. On its TLS port a token in the header ' +
        `${TOKEN_HEADER} is needed: one to view, one to operate.`,
      license: { name: packageJson.license, identifier: packageJson.license },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Problem: ProblemShape },
      securitySchemes: {
        token: { type: 'apiKey', in: 'header', name: TOKEN_HEADER, description: 'The view or the operate token' },
      },
    },
  };
}

function operation({ method, path, role, summary, query, body, answer }: Route): Record<string, unknown> {
  return {
    operationId: operationId(method, path),
    summary,
    description: `Needs the role ${role}.`,
    security: [{ token: [] }],
    parameters: [...pathParameters(path), ...queryParameters(query)],
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: {
      200: { description: 'Done', content: { 'application/json': { schema: answer } } },
      ...Object.fromEntries(
        Object.entries(REFUSALS).map(([status, description]) => [
          status,
          {
            description,
            content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
          },
        ]),
      ),
    },
  };
}

const operationId = (method: string, path: string): string =>
  [method.toLowerCase(), ...path.split(/\W+/).filter((word) => word !== '' && word !== 'v1')].join('-');

const pathParameters = (path: string): readonly unknown[] =>
  [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));

function queryParameters(query: Route['query']): readonly unknown[] {
  const required: readonly string[] = query.required ?? [];
  return Object.entries<TSchema>(query.properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema,
  }));
}
