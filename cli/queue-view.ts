/** The queues of all replicas that run, as one. */
import type { Filter } from '../relay/admin/shapes.ts';
import { type QueuedMessage, queuedMessage, queuePage, ReplicaUnreachable } from './admin-client.ts';
import { EXIT, Failure } from './failure.ts';
import { type ReplicaSocket, replicaSockets } from './state-folder.ts';
import { age, size, table } from './table.ts';

const PAGE = 1_000;

/** A queued message and the replica that has it, as NAMESPACE/NAME-ORDINAL. */
export interface Queued extends QueuedMessage {
  readonly replica: string;
}

export interface Silent {
  readonly replica: string;
  readonly problem: string;
}

export interface Queues {
  /** Oldest first. */
  readonly messages: readonly Queued[];
  readonly unreachable: readonly Silent[];
}

/** @param limit most messages of each replica */
export async function listQueues(state: string, limit: number, filter: Filter = {}): Promise<Queues> {
  const asked = await askAll(state, (socket) => pages(socket, limit, filter));
  const messages = asked.flatMap(({ replica, answer }) => (answer ?? []).map((message) => ({ replica, ...message })));
  return {
    messages: messages.sort((a, b) => a.envelope.arrivedMs - b.envelope.arrivedMs),
    unreachable: silentOf(asked),
  };
}

async function pages(socket: string, limit: number, filter: Filter): Promise<readonly QueuedMessage[]> {
  const messages: QueuedMessage[] = [];
  let after: string | undefined;
  do {
    const page = await queuePage(socket, filter, Math.min(limit - messages.length, PAGE), after);
    messages.push(...page.messages);
    after = page.next;
  } while (after !== undefined && messages.length < limit);
  return messages;
}

/** @throws {Failure} when no replica that runs has it */
export async function findMessage(state: string, queueId: string): Promise<Queued> {
  const asked = await askAll(state, (socket) => queuedMessage(socket, queueId));
  for (const { replica, answer } of asked) if (answer) return { replica, ...answer };
  const silent = asked.filter(({ problem }) => problem !== undefined).map(({ replica }) => replica);
  throw new Failure(
    silent.length > 0
      ? `no replica that answers has ${queueId}; these did not answer: ${silent.join(', ')}`
      : `${queueId} is not queued: it was delivered or returned, or it never was; the log of the relay tells`,
  );
}

export interface Asked<Answer> {
  readonly replica: string;
  readonly answer?: Answer;
  readonly problem?: string;
}

/** @throws {Failure} when no relay runs */
export async function askAll<Answer>(
  state: string,
  ask: (socket: string) => Promise<Answer>,
): Promise<readonly Asked<Answer>[]> {
  const sockets = await replicaSockets(state);
  if (sockets.length === 0) {
    throw new Failure(`no relay runs on ${state}: start "chasqui standalone"`, EXIT.unavailable);
  }
  const asked: Asked<Answer>[] = [];
  for (const socket of sockets) asked.push({ replica: replicaName(socket), ...(await answerOf(ask(socket.path))) });
  return asked;
}

export const silentOf = (asked: readonly Asked<unknown>[]): readonly Silent[] =>
  asked.flatMap(({ replica, problem }) => (problem === undefined ? [] : [{ replica, problem }]));

async function answerOf<Answer>(asking: Promise<Answer>): Promise<{ answer: Answer } | { problem: string }> {
  try {
    return { answer: await asking };
  } catch (error) {
    if (error instanceof ReplicaUnreachable) return { problem: error.message };
    throw error;
  }
}

export const replicaName = ({ namespace, name, ordinal }: Omit<ReplicaSocket, 'path'>): string =>
  `${namespace}/${name}-${ordinal}`;

export function queueTable(messages: readonly Queued[], nowMs: number): string {
  if (messages.length === 0) return 'No message is queued.';
  return table(
    ['ID', 'REPLICA', 'AGE', 'SIZE', 'FROM', 'TO', 'ATTEMPTS', 'NEXT', 'LAST REPLY'],
    messages.flatMap(({ queueId, replica, envelope, deliveries, movesTo }) =>
      deliveries.map(({ recipients, attempts, ...delivery }) => [
        queueId,
        replica,
        age(nowMs - envelope.arrivedMs),
        size(envelope.sizeBytes),
        address(envelope.mailFrom),
        recipientsText(recipients),
        String(attempts),
        nextText({ ...delivery, movesTo }, nowMs),
        shortened(replyText(recipients.find(({ lastReply }) => lastReply)?.lastReply)),
      ]),
    ),
  );
}

export function messageText({ queueId, replica, envelope, deliveries, movesTo }: Queued, nowMs: number): string {
  const facts: [name: string, value: string | undefined][] = [
    ['Queue id', queueId],
    ['Replica', replica],
    ['From', address(envelope.mailFrom)],
    ['Message-ID', envelope.messageId],
    ['Arrived', `${new Date(envelope.arrivedMs).toISOString()} (${age(nowMs - envelope.arrivedMs)} ago)`],
    ['Size', size(envelope.sizeBytes)],
    ['Submitted by', envelope.user ?? envelope.network],
    ['Client', envelope.client && `${envelope.client.address} (${envelope.client.helo})`],
    ['TLS', envelope.client?.tls],
    ['Signed as', envelope.signAs],
    ['Moves to spool', movesTo],
  ];
  const recipients = deliveries.flatMap(({ destination, attempts, recipients, ...delivery }) =>
    recipients.map(({ address, state, lastReply }) => [
      address,
      state,
      destination,
      String(attempts),
      nextText({ ...delivery, movesTo }, nowMs),
      replyText(lastReply),
    ]),
  );
  return [
    table(
      ['', ''],
      facts.flatMap(([name, value]) => (value ? [[`${name}:`, value]] : [])),
    ).replace(/^\s*\n/, ''),
    table(['RECIPIENT', 'STATE', 'DESTINATION', 'ATTEMPTS', 'NEXT', 'LAST REPLY'], recipients),
  ].join('\n\n');
}

const address = (path: string): string => path || '<>';

function recipientsText(recipients: readonly { address: string }[]): string {
  const [first, ...others] = recipients;
  return `${first?.address ?? ''}${others.length > 0 ? ` and ${others.length} more` : ''}`;
}

/** A delivery without a due time is in the hands of the relay: its first attempt is under way or waits its turn. */
interface Waiting {
  readonly dueMs?: number;
  readonly heldMs?: number;
  readonly movesTo: string | undefined;
}

function nextText({ dueMs, heldMs, movesTo }: Waiting, nowMs: number): string {
  if (movesTo !== undefined) return 'moving';
  if (heldMs !== undefined) return `held ${age(nowMs - heldMs)}`;
  if (dueMs === undefined || dueMs <= nowMs) return 'now';
  return `in ${age(dueMs - nowMs)}`;
}

type LastReply = QueuedMessage['deliveries'][number]['recipients'][number]['lastReply'];

const replyText = (reply: LastReply): string =>
  reply
    ? [reply.code, reply.enhanced, reply.text].filter(Boolean).join(' ') + (reply.host ? ` (${reply.host})` : '')
    : '';

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
