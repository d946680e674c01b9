/** The admin API of a replica: all of its routes. */
import Type from 'typebox';
import type { ConfigSource, RelayConfig } from '../config/config.ts';
import { openApiDocument } from './openapi.ts';
import { type QueueRoutesOptions, queueRoutes } from './queue-routes.ts';
import { type Route, route } from './route.ts';
import { ConfigInForce } from './shapes.ts';
import { ReplicaStatus } from './status.ts';

export interface RoutesOptions extends QueueRoutesOptions {
  readonly status: () => Promise<ReplicaStatus>;
  readonly config: ConfigSource;
  /** Of other parts of the relay. */
  readonly others: readonly Route[];
}

export function adminRoutes(options: RoutesOptions): readonly Route[] {
  const { status, config } = options;
  const routes: readonly Route[] = [
    route({
      method: 'GET',
      path: '/v1/status',
      role: 'view',
      summary: 'What the replica is and does: readiness, drain, queue, config in force',
      answer: ReplicaStatus,
      handle: async () => status(),
    }),
    route({
      method: 'GET',
      path: '/v1/config',
      role: 'view',
      summary: 'The config in force; waits until it is another than the one that is named',
      query: Type.Object({
        not: Type.Optional(Type.String({ maxLength: 64, description: 'a hash' })),
        wait: Type.Optional(
          Type.String({ pattern: '^([0-9]|[1-5][0-9]|60)s$', description: 'at most so long: up to 60s' }),
        ),
      }),
      answer: ConfigInForce,
      handle: async ({ query: { not, wait = '0s' }, signal }) => {
        const { hash, replicas, rejected } = await changed(config, not, Number.parseInt(wait, 10) * 1000, signal);
        return { hash, replicas, rejected: [...rejected] };
      },
    }),
    ...queueRoutes(options),
    ...options.others,
    route({
      method: 'GET',
      path: '/v1/openapi.json',
      role: 'view',
      summary: 'This API, as an OpenAPI document',
      answer: Type.Object({ openapi: Type.String() }),
      handle: async () => document,
    }),
  ];
  const document = openApiDocument(routes);
  return routes;
}

/** The config in force, as soon as it is another than `not`, or in any case after waitMs. */
function changed(
  config: ConfigSource,
  not: string | undefined,
  waitMs: number,
  signal: AbortSignal,
): Promise<RelayConfig> {
  if (config.current().hash !== not || waitMs === 0) return Promise.resolve(config.current());
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', end);
      resolve(config.current());
    };
    const timer = setTimeout(end, waitMs);
    timer.unref();
    const unsubscribe = config.onChange(end);
    signal.addEventListener('abort', end);
  });
}
