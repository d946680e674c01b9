/** What the admin API takes and answers about the queue. */
import Type, { type Static } from 'typebox';

const Reply = Type.Object({
  code: Type.Integer(),
  enhanced: Type.Optional(Type.String()),
  text: Type.String(),
  host: Type.Optional(Type.String({ description: 'who said so; absent: this relay' })),
});

const Milliseconds = Type.Integer({ description: 'milliseconds since 1970' });

export const STATES = ['queued', 'deferred', 'held', 'moving'] as const;
const State = Type.Enum([...STATES], {
  type: 'string',
  description:
    'queued: not tried yet. deferred: tried, and waits. held: on hold. moving: on its way to another replica',
});

export const Message = Type.Object({
  queueId: Type.String(),
  envelope: Type.Object({
    mailFrom: Type.String({ description: 'empty: the null sender' }),
    arrivedMs: Milliseconds,
    sizeBytes: Type.Integer(),
    messageId: Type.Optional(Type.String()),
    user: Type.Optional(Type.String()),
    network: Type.Optional(Type.String()),
    listener: Type.Optional(Type.String()),
    signAs: Type.Optional(Type.String()),
    client: Type.Optional(
      Type.Object({ address: Type.String(), helo: Type.String(), tls: Type.Optional(Type.String()) }),
    ),
  }),
  movesTo: Type.Optional(Type.String({ description: 'spool of another replica that it moves to; not tried here' })),
  deliveries: Type.Array(
    Type.Object({
      destination: Type.String(),
      state: State,
      attempts: Type.Integer(),
      dueMs: Type.Optional(Type.Integer({ description: 'next attempt; absent: it is in memory, or on hold' })),
      heldMs: Type.Optional(Type.Integer({ description: 'on hold since' })),
      recipients: Type.Array(
        Type.Object({ address: Type.String(), state: Type.String(), lastReply: Type.Optional(Reply) }),
      ),
    }),
  ),
});
export type Message = Static<typeof Message>;

const address = (what: string) =>
  Type.String({ minLength: 1, maxLength: 400, description: `${what}: an address, or @DOMAIN` });

const FILTER = {
  sender: Type.Optional(address('sender, <> for the null sender')),
  recipient: Type.Optional(address('one of the recipients')),
  destination: Type.Optional(
    Type.String({ minLength: 1, maxLength: 2000, description: 'a destination, or the domain of a recipient' }),
  ),
  user: Type.Optional(Type.String({ minLength: 1, maxLength: 300, description: 'SmtpUser, as NAME.NAMESPACE' })),
  state: Type.Optional(State),
  reason: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'last reply: 451, 4.7.1, "451 4.7.1", or words of its text',
    }),
  ),
  arrivedBeforeMs: Type.Optional(Milliseconds),
  arrivedAfterMs: Type.Optional(Milliseconds),
};

const Cursor = Type.String({ maxLength: 64, description: 'next of the page before' });
const Next = Type.Optional(
  Type.String({ description: 'pass it as after; absent: this was the last page. A page may be empty, and have it' }),
);

export const SearchQuery = Type.Object({
  ...FILTER,
  after: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
});
export const SearchPage = Type.Object({ messages: Type.Array(Message), next: Next });

export const Filter = Type.Object(FILTER, { additionalProperties: false });
export type Filter = Static<typeof Filter>;

/** Messages that one request acts on. */
export const ACTED_AT_ONCE = 200;

export const ActionBody = Type.Object(
  {
    ids: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: ACTED_AT_ONCE }),
    ),
    filter: Type.Optional(Filter),
    after: Type.Optional(Cursor),
    dryRun: Type.Optional(Type.Boolean({ description: 'tells what would be acted on, and changes nothing' })),
  },
  { additionalProperties: false, description: 'either ids or a filter; an empty filter is the whole queue' },
);
export type ActionBody = Static<typeof ActionBody>;

export const RESULTS = ['matched', 'done', 'unchanged', 'attempting', 'later', 'moving', 'gone'] as const;
export const ActionResult = Type.Object({
  messages: Type.Array(
    Type.Object({
      queueId: Type.String(),
      recipients: Type.Integer({ description: 'those that it still has to reach, at what was selected' }),
      result: Type.Enum([...RESULTS], {
        type: 'string',
        description:
          'matched: dry run. unchanged: there was nothing to do. attempting: an attempt is under way; it ends first, and ' +
          'the message is on hold meanwhile. later: it could not be done now, such as for a full disk; it is on hold, and is ' +
          'ended as soon as it can. moving: it is on its way to another replica. gone: it was delivered or returned before',
      }),
    }),
  ),
  unknown: Type.Array(Type.String(), { description: 'ids that are not in the queue of this replica' }),
  next: Next,
});
export type ActionResult = Static<typeof ActionResult>;

export const Counts = Type.Object({
  recipients: Type.Integer({ description: 'all that wait, also those in rows that are left out' }),
  counts: Type.Array(
    Type.Object({
      destination: Type.String(),
      reason: Type.String({ description: 'codes of the last reply; empty: not tried yet' }),
      recipients: Type.Integer(),
      held: Type.Integer({ description: 'those of them that are on hold' }),
    }),
    { description: 'largest first; of very many destinations the largest, and those roughly' },
  ),
});
export type Counts = Static<typeof Counts>;

export const ConfigInForce = Type.Object({
  hash: Type.String({ description: 'hex SHA-256 of its index' }),
  replicas: Type.Integer(),
  rejected: Type.Array(Type.String(), { description: 'entries that were left out, with file and field' }),
});
