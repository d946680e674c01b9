/** The routes that look into the queue, and those that act on it. */
import { type QueueFilter, stateOf } from '../spool/filter.ts';
import type { QueuedMessage, QueuePage, Spool } from '../spool/spool.ts';
import { ACTIONS, type Action, type Actions } from './actions.ts';
import { Problem, type Route, route } from './route.ts';
import {
  ACTED_AT_ONCE,
  ActionBody,
  ActionResult,
  Counts,
  type Filter,
  Message,
  SearchPage,
  SearchQuery,
} from './shapes.ts';

export interface QueueRoutesOptions {
  readonly spool: Pick<Spool, 'search' | 'show' | 'counts'>;
  readonly actions: Pick<Actions, 'act'>;
  readonly now: () => number;
}

/** A request looks through so much of the queue as it can meanwhile; the next one goes on from there. */
const LOOK_MS = 1_000;
/** What a page holds at most, but for its last message. */
const RECIPIENTS = 20_000;
const COUNTED_ROWS = 1_000;

const SUMMARIES: Readonly<Record<Action, string>> = {
  hold: 'Puts messages on hold: they are not tried until they are released, and do not expire',
  release: 'Releases messages that are on hold: they are tried now',
  retry: 'Tries messages now; those on hold stay so',
  recall: 'Delivers here what moves to a replica whose spool is lost; it arrives twice where that spool is not',
  bounce: 'Gives messages up, and tells their senders (RFC 3464)',
  delete: 'Deletes messages; their senders are not told',
};

export function queueRoutes(options: QueueRoutesOptions): readonly Route[] {
  const { spool } = options;
  return [
    route({
      method: 'GET',
      path: '/v1/queue',
      role: 'view',
      summary: 'Messages that match, oldest first, page by page; of each, the deliveries that match',
      query: SearchQuery,
      answer: SearchPage,
      handle: async ({ query: { after, limit = 100, ...filter }, signal }) => {
        const { messages, next } = await look(options, filter, after, limit, signal);
        return { messages: messages.map(shown), ...(next !== undefined && { next }) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/queue/{id}',
      role: 'view',
      summary: 'One message: its envelope, and what each destination said',
      answer: Message,
      handle: async ({ params: { id = '' } }) => {
        const message = await spool.show(id);
        if (!message) throw new Problem(404, `${id} is not in the queue of this replica`);
        return shown(message);
      },
    }),
    route({
      method: 'GET',
      path: '/v1/counts',
      role: 'view',
      summary: 'Recipients that wait, by destination and last reply',
      answer: Counts,
      handle: async () => {
        const { recipients, rows } = await spool.counts();
        return { recipients, counts: rows.slice(0, COUNTED_ROWS) };
      },
    }),
    ...ACTIONS.map((action) => actionRoute(action, options)),
  ];
}

const actionRoute = (action: Action, options: QueueRoutesOptions): Route =>
  route({
    method: 'POST',
    path: `/v1/queue/${action}`,
    role: 'operate',
    summary: SUMMARIES[action],
    body: ActionBody,
    answer: ActionResult,
    handle: async ({ body, caller, signal }) => {
      const { messages, unknown, next } = await chosen(options, body, signal);
      const results = body.dryRun ? [] : await options.actions.act(action, messages, caller.name);
      return {
        messages: messages.map(({ queueId, deliveries }, index) => ({
          queueId,
          recipients: recipientsOf(deliveries),
          result: results[index] ?? 'matched',
        })),
        unknown: [...unknown],
        ...(next !== undefined && { next }),
      };
    },
  });

interface Chosen {
  readonly messages: readonly QueuedMessage[];
  readonly unknown: readonly string[];
  readonly next?: string;
}

async function chosen(options: QueueRoutesOptions, body: ActionBody, signal: AbortSignal): Promise<Chosen> {
  const { ids, filter, after } = body;
  if ((ids === undefined) === (filter === undefined)) throw new Problem(400, 'the body needs either ids or a filter');
  if (filter) return { ...(await byFilter(options, filter, after, signal)), unknown: [] };
  const wanted = [...new Set(ids?.map((id) => id.toUpperCase()))];
  const found = await Promise.all(wanted.map(async (id) => ({ id, message: await options.spool.show(id) })));
  return {
    messages: found.flatMap(({ message }) => message ?? []),
    unknown: found.flatMap(({ id, message }) => (message ? [] : [id])),
  };
}

/** Not what came since the first page: the notices of what is returned would be returned in their turn. */
async function byFilter(
  options: QueueRoutesOptions,
  filter: Filter,
  after: string | undefined,
  signal: AbortSignal,
): Promise<QueuePage> {
  const [, from, since] = /^(\w+)\.([0-9]{1,15})$/.exec(after ?? '') ?? [];
  if (after !== undefined && from === undefined) throw new Problem(400, 'after is not what a page before ended with');
  const beginMs = since === undefined ? options.now() : Number(since);
  const arrivedBeforeMs = Math.min(filter.arrivedBeforeMs ?? beginMs, beginMs);
  const { messages, next } = await look(options, { ...filter, arrivedBeforeMs }, from, ACTED_AT_ONCE, signal);
  return { messages, ...(next !== undefined && { next: `${next}.${beginMs}` }) };
}

async function look(
  { spool, now }: QueueRoutesOptions,
  filter: QueueFilter,
  after: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<QueuePage> {
  const untilMs = now() + LOOK_MS;
  const messages: QueuedMessage[] = [];
  let next = after;
  let recipients = 0;
  do {
    const page = await spool.search(filter, next, limit - messages.length);
    messages.push(...page.messages);
    for (const { deliveries } of page.messages) recipients += recipientsOf(deliveries);
    next = page.next;
  } while (
    next !== undefined &&
    messages.length < limit &&
    recipients < RECIPIENTS &&
    now() < untilMs &&
    !signal.aborted
  );
  return { messages, ...(next !== undefined && { next }) };
}

const recipientsOf = (deliveries: QueuedMessage['deliveries']): number =>
  deliveries.reduce((sum, { recipients }) => sum + recipients.length, 0);

const shown = ({ queueId, envelope, deliveries, movesTo }: QueuedMessage): Message => ({
  queueId,
  envelope,
  ...(movesTo !== undefined && { movesTo }),
  deliveries: deliveries.map(({ destination, attempts, dueMs, heldMs, recipients }) => ({
    destination,
    state: stateOf({ held: heldMs !== undefined, moving: movesTo !== undefined, attempts }),
    attempts,
    ...(dueMs !== undefined && { dueMs }),
    ...(heldMs !== undefined && { heldMs }),
    recipients: [...recipients],
  })),
});
