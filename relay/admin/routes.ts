/** The admin API of a replica: all of its routes. */
import Type from 'typebox';
import type { Spool } from '../spool/spool.ts';
import { Problem, type Route, route } from './route.ts';
import { ReplicaStatus } from './status.ts';

export interface RoutesOptions {
  readonly spool: Pick<Spool, 'list' | 'show'>;
  readonly status: () => Promise<ReplicaStatus>;
}

export const adminRoutes = ({ spool, status }: RoutesOptions): readonly Route[] => [
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
    path: '/v1/queue',
    role: 'view',
    summary: 'Messages of the queue, oldest first',
    query: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })) }),
    answer: Type.Object({ messages: Type.Array(Type.Unknown()) }),
    handle: async ({ query: { limit = 100 } }) => ({ messages: [...(await spool.list(limit))] }),
  }),
  route({
    method: 'GET',
    path: '/v1/queue/{id}',
    role: 'view',
    summary: 'One message of the queue',
    answer: Type.Unknown(),
    handle: async ({ params: { id = '' } }) => {
      const message = await spool.show(id);
      if (!message) throw new Problem(404, `${id} is not in the queue of this replica`);
      return message;
    },
  }),
];
