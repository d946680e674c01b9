/** An action on queued messages, at all replicas that run. */
import type { Action } from '../relay/admin/actions.ts';
import { ACTED_AT_ONCE, type ActionResult, type Filter } from '../relay/admin/shapes.ts';
import { actOnQueue } from './admin-client.ts';
import { EXIT, Failure } from './failure.ts';
import { askAll, type Silent, silentOf } from './queue-view.ts';

export interface Acted {
  readonly replica: string;
  readonly queueId: string;
  readonly recipients: number;
  readonly result: ActionResult['messages'][number]['result'];
}

export interface ActedOn {
  readonly messages: readonly Acted[];
  /** Ids that no replica has which answered. */
  readonly unknown: readonly string[];
  readonly unreachable: readonly Silent[];
}

/** What is meant: messages by their ids, or all that a filter finds. */
export type Chosen = { readonly ids: readonly string[] } | { readonly filter: Filter };

export async function actEverywhere(state: string, action: Action, chosen: Chosen, dryRun: boolean): Promise<ActedOn> {
  const asked = await askAll(state, (socket) =>
    'ids' in chosen ? actOnIds(socket, action, chosen.ids, dryRun) : actOnFilter(socket, action, chosen.filter, dryRun),
  );
  const answers = asked.flatMap(({ replica, answer }) => (answer ? [{ replica, ...answer }] : []));
  const known = new Set(answers.flatMap(({ messages }) => messages.map(({ queueId }) => queueId)));
  return {
    messages: answers.flatMap(({ replica, messages }) => messages.map((message) => ({ replica, ...message }))),
    unknown: 'ids' in chosen ? chosen.ids.filter((id) => !known.has(id.toUpperCase())) : [],
    unreachable: silentOf(asked),
  };
}

type Found = Pick<ActionResult, 'messages'>;

async function actOnIds(socket: string, action: Action, ids: readonly string[], dryRun: boolean): Promise<Found> {
  const messages: ActionResult['messages'] = [];
  for (let first = 0; first < ids.length; first += ACTED_AT_ONCE) {
    const some = ids.slice(first, first + ACTED_AT_ONCE);
    messages.push(...(await actOnQueue(socket, action, { ids: some, dryRun })).messages);
  }
  return { messages };
}

async function actOnFilter(socket: string, action: Action, filter: Filter, dryRun: boolean): Promise<Found> {
  const messages: ActionResult['messages'] = [];
  let after: string | undefined;
  do {
    const page = await actOnQueue(socket, action, { filter, dryRun, ...(after !== undefined && { after }) });
    messages.push(...page.messages);
    after = page.next;
  } while (after !== undefined);
  return { messages };
}

const DONE: Readonly<Record<Action, string>> = {
  hold: 'put on hold',
  release: 'released',
  retry: 'due now',
  recall: 'taken back, and delivered by the replica that has them',
  bounce: 'returned to their senders',
  delete: 'deleted',
};

export function actedText(action: Action, { messages }: Pick<ActedOn, 'messages'>): string {
  if (messages.length === 0) return 'No message matches.';
  const of = (...results: Acted['result'][]) => messages.filter(({ result }) => results.includes(result));
  const lines: readonly [string, readonly Acted[]][] = [
    [`would be ${DONE[action]} (dry run)`, of('matched')],
    [DONE[action], of('done')],
    [unchangedText(action), of('unchanged')],
    [attemptingText(action), of('attempting')],
    [`on hold: could not be ended now, and is ${DONE[action]} as soon as it can`, of('later')],
    [movingText(action), of('moving')],
    ['gone before: delivered or returned', of('gone')],
  ];
  return lines
    .filter(([, some]) => some.length > 0)
    .map(([what, some]) => `${counted(some)} ${what}`)
    .join('\n');
}

function unchangedText(action: Action): string {
  if (action === 'hold') return 'on hold already';
  if (action === 'recall') return 'not on the way to another replica';
  return action === 'release' ? 'not on hold' : 'about to be tried already, or on hold';
}

const movingText = (action: Action): string =>
  action === 'recall'
    ? 'on the way to another replica, which answers: it takes them'
    : 'on the way to another replica: try again in a moment';

const attemptingText = (action: Action): string =>
  action === 'hold'
    ? 'on hold, but for an attempt that is under way and may still deliver'
    : `being tried at this moment: ${DONE[action]} when the attempt ends, unless it delivers`;

function counted(some: readonly Acted[]): string {
  const recipients = some.reduce((sum, message) => sum + message.recipients, 0);
  const messages = some.length === 1 ? '1 message' : `${some.length} messages`;
  return `${messages} (${recipients === 1 ? '1 recipient' : `${recipients} recipients`})`;
}

/** @throws {Failure} where it is neither ids, nor a filter, nor all */
export function chosenBy(ids: readonly string[], filter: Filter, all: boolean): Chosen {
  const filtered = Object.keys(filter).length > 0;
  if (ids.length > 0 && (filtered || all))
    throw new Failure('name either ids or options that choose, not both', EXIT.usage);
  if (ids.length > 0) return { ids };
  if (filtered || all) return { filter };
  throw new Failure(
    'name queue ids, or choose by options such as --destination; the whole queue needs --all',
    EXIT.usage,
  );
}
