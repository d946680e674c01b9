/**
 * Destinations that fail, hang, lie and babble, each in every state of SMTP: the message is bounced, deferred or
 * delivered as it should be, in bounded time; it arrives once the destination mends its ways, and once only; and the mail
 * for others goes on meanwhile. All of them are served at once, by one relay with short timeouts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createTransport } from 'nodemailer';
import { SELF_SIGNED } from '../harness/certificate.ts';
import {
  at,
  Destination,
  type DestinationOptions,
  drop,
  hang,
  type Moment,
  type Reaction,
  type ReceivedMessage,
  type Script,
  stall,
} from '../harness/destination.ts';
import { FullBacklog } from '../harness/full-backlog.ts';
import { queueIdIn } from '../harness/outbound.ts';
import { type RelayLine, RelayProcess } from '../harness/relay-process.ts';
import { relayWith } from '../harness/relay-program.ts';

const TIMEOUTS = { connect: 3_000, greeting: 3_000, command: 3_000, finalDot: 5_000, attempt: 10_000 };
/** An attempt on a busy machine, at most two connections. */
const LONGEST_MS = 2 * TIMEOUTS.attempt;
/** For all that the table does to it, on top of what an idle relay takes. */
const MEMORY = 150 * 1024 * 1024;

interface Case {
  readonly what: string;
  readonly react?: Script;
  readonly options?: DestinationOptions;
  readonly tls?: 'Disabled' | 'Opportunistic' | 'Required' | 'Verified';
  /** Local parts; default: one, `ada`. */
  readonly to?: readonly string[];
  readonly bytes?: number;
  /** First outcome of each recipient, in order: state, code, enhanced code, and part of what is told. */
  readonly outcome: readonly string[];
  /** It is deferred for as long as the destination is what it is. */
  readonly never?: true;
  /** It reads no more, and so does not see the end of a connection. */
  readonly unread?: true;
  /** It has the message, whatever it says, and gets it again (RFC 1047). */
  readonly taken?: true;
}

const TLS: Pick<Case, 'options' | 'tls'> = { options: { certificate: SELF_SIGNED }, tls: 'Required' };
const IN_TURN: DestinationOptions = { extensions: [] };
const babble = (line: string): Reaction => ({ endless: line.repeat(Math.ceil(65_536 / line.length)) });
const unanswered = (what: string): readonly string[] => [`deferred 451 4.4.2 ${what}`];
const each = <T>(moments: readonly T[], make: (moment: T) => Case): readonly Case[] => moments.map(make);
const SESSION: readonly Moment[] = ['greeting', 'ehlo'];
const TRANSACTION: readonly Moment[] = ['mail', 'rcpt', 'data', 'dot'];
const STATES = [...SESSION, ...TRANSACTION];
const said = (moment: Moment): string => (SESSION.includes(moment) ? 'no session with' : 'lost the connection to');

const KIND: Partial<Record<Moment, string>> = {
  greeting: '220 dest.test',
  ehlo: '250-dest.test\n250 PIPELINING',
  mail: '250 2.1.0 OK',
  rcpt: '250 2.1.5 OK',
  data: '354 Go ahead',
  dot: '250 2.0.0 Taken',
  quit: '221 2.0.0 Bye',
};

const CASES: readonly Case[] = [
  // Silence.
  ...each(STATES, (moment) => ({
    what: `is silent at ${moment}`,
    react: at(moment, hang),
    outcome: unanswered(said(moment)),
  })),
  ...each(TRANSACTION, (moment) => ({
    what: `is silent at ${moment}, without PIPELINING`,
    options: IN_TURN,
    react: at(moment, hang),
    outcome: unanswered(said(moment)),
  })),
  { what: 'is silent at STARTTLS', ...TLS, react: at('starttls', hang), outcome: ['deferred 451 4.7.5 '] },
  {
    what: 'is silent in the TLS handshake',
    ...TLS,
    react: at('starttls', { endless: '220 2.0.0 Ready\r\n', everyMs: 60_000 }),
    outcome: ['deferred 451 4.7.5 '],
  },
  {
    what: 'stops to read in the middle of a message',
    react: at('body', stall),
    unread: true,
    bytes: 8e6,
    outcome: unanswered('lost'),
  },
  { what: 'is silent in the middle of a message', react: at('body', hang), outcome: unanswered('lost') },
  { what: 'is silent at QUIT', react: at('quit', hang), outcome: ['delivered 250 2.0.0'] },
  {
    what: 'is silent at RSET',
    options: IN_TURN,
    react: async (step) => (await at('rcpt', '550 5.1.1 No such user')(step)) ?? at('rset', hang)(step),
    outcome: ['bounced 550 5.1.1'],
  },
  // The end of the connection.
  ...each(STATES, (moment) => ({
    what: `closes at ${moment}`,
    react: at(moment, drop),
    outcome: unanswered(said(moment)),
  })),
  { what: 'closes in the middle of a message', react: at('body', drop), outcome: unanswered('lost') },
  { what: 'closes at STARTTLS', ...TLS, react: at('starttls', drop), outcome: ['deferred 451 4.7.5 '] },
  {
    what: 'closes in the TLS handshake',
    ...TLS,
    react: at('starttls', { reply: '220 2.0.0 Ready', thenDrop: true }),
    outcome: ['deferred 451 4.7.5 '],
  },
  {
    what: 'closes right after it has taken the message',
    react: at('dot', { reply: '250 2.0.0 Taken', thenDrop: true }),
    outcome: ['delivered 250 2.0.0 Taken'],
  },
  // Refusals. RFC 5321 4.2.1: 4yz passes, 5yz does not; before MAIL it is the host that is meant, not a recipient.
  { what: 'greets 554', react: at('greeting', '554 5.3.2 No'), outcome: ['deferred 554 5.3.2 No'] },
  { what: 'refuses EHLO and HELO', react: at('ehlo', '550 5.7.1 No'), outcome: ['deferred 550 5.7.1 No'] },
  { what: 'refuses STARTTLS', ...TLS, react: at('starttls', '454 4.7.0 No'), outcome: ['deferred 451 4.7.5 '] },
  { what: 'offers no TLS that is required', tls: 'Required', outcome: ['deferred 451 4.7.5 '], never: true },
  {
    what: 'has a certificate that nobody knows, where it is to be known',
    ...TLS,
    tls: 'Verified',
    outcome: ['deferred 451 4.7.5 '],
    never: true,
  },
  ...each(TRANSACTION, (moment) => ({
    what: `refuses ${moment} for now`,
    react: at(moment, '452 4.3.1 Full'),
    outcome: ['deferred 452 4.3.1 Full'],
  })),
  ...each(TRANSACTION, (moment) => ({
    what: `refuses ${moment} for good`,
    react: at(moment, '554 5.7.1 Never'),
    outcome: ['bounced 554 5.7.1 Never'],
  })),
  ...each(STATES, (moment) => ({
    what: `shuts down at ${moment}`,
    react: at(moment, '421 4.3.2 Closing'),
    outcome: ['deferred 421 4.3.2 Closing'],
  })),
  ...each([{}, IN_TURN], (options) => ({
    what: `refuses one recipient, defers another and takes a third ${options === IN_TURN ? 'in turn' : 'in one write'}`,
    options,
    to: ['ada', 'bob', 'eve'],
    react: ({ at: moment, argument }) =>
      moment === 'rcpt'
        ? argument.includes('bob')
          ? '450 4.2.1 Busy'
          : argument.includes('eve')
            ? '550 5.1.1 No such user'
            : undefined
        : undefined,
    outcome: ['delivered 250 2.0.0', 'deferred 450 4.2.1 Busy', 'bounced 550 5.1.1 No such user'],
  })),
  {
    what: 'refuses all recipients and asks for content all the same',
    to: ['ada', 'bob'],
    react: async (step) => (await at('rcpt', '550 5.1.1 No such user')(step)) ?? at('data', '354 Go ahead')(step),
    outcome: ['bounced 550 5.1.1', 'bounced 550 5.1.1'],
  },
  // Nonsense.
  ...each(['greeting', 'mail', 'rcpt', 'data', 'dot'] as const, (moment) => ({
    what: `says no SMTP at ${moment}`,
    react: at(moment, 'Welcome, friend'),
    outcome: ['deferred 451 4.5.0 Not an SMTP reply: Welcome, friend'],
  })),
  ...each(['greeting', 'mail', 'rcpt', 'data', 'dot'] as const, (moment) => ({
    what: `has a code of its own at ${moment}`,
    react: at(moment, '600 2.0.0 Fine'),
    outcome: ['deferred 451 4.5.0 Not an SMTP reply: 600 2.0.0 Fine'],
  })),
  ...each(
    TRANSACTION,
    (moment): Case => ({
      what: `says yes and no at ${moment}`,
      ...(moment === 'dot' && { taken: true }),
      react: at(moment, '250-2.0.0 Yes\n554 5.7.1 No'),
      outcome: ['deferred 451 4.5.0 Not an SMTP reply: 250-2.0.0 Yes 554 5.7.1 No'],
    }),
  ),
  ...each(STATES, (moment) => ({
    what: `babbles without a line end at ${moment}`,
    react: at(moment, babble('x')),
    outcome: unanswered(said(moment)),
  })),
  ...each(STATES, (moment) => ({
    what: `has a reply without end at ${moment}`,
    react: at(moment, babble('250-And another thing\r\n')),
    outcome: unanswered(said(moment)),
  })),
  ...each(['mail', 'rcpt'] as const, (moment) => ({
    what: `says yes without end at ${moment}`,
    react: at(moment, babble('250 Yes\r\n')),
    outcome: ['deferred 451 4.'],
  })),
  {
    what: 'says a byte now and then, without end',
    react: at('dot', { endless: '2', everyMs: 500 }),
    outcome: unanswered('lost the connection to 127.0.0.1: no end in time'),
  },
  {
    what: 'says a line of its reply now and then, without end',
    react: at('dot', { endless: '250-Wait\r\n', everyMs: 500 }),
    outcome: unanswered('lost the connection to 127.0.0.1: no end in time'),
  },
  {
    what: 'says all of it a byte at a time',
    react: ({ at: moment }) => {
      const reply = KIND[moment];
      return reply === undefined ? undefined : { reply, byByte: true };
    },
    outcome: ['delivered 250 2.0.0 Taken'],
  },
  {
    what: 'forgets what comes behind a command, though it offers PIPELINING',
    options: { forgetful: true },
    outcome: unanswered('lost the connection to'),
    never: true,
  },
  ...each(['mail', 'rcpt'] as const, (moment) => ({
    what: `answers twice to a pipelined ${moment}`,
    react: at(moment, '250 2.0.0 Yes\n250 2.0.0 Yes'),
    outcome: ['deferred 451 4.5.0 Not an answer to what was asked: 250 2.'],
  })),
  {
    what: 'takes the message before it is sent',
    react: at('data', '354 Go ahead\n250 2.0.0 Taken'),
    outcome: ['deferred 451 4.5.0 Not an answer to what was asked: 250 2.0.0 Taken'],
  },
  // TLS where it is only tried.
  ...each<Reaction>(
    ['454 4.7.0 No', drop, { endless: '220 2.0.0 Ready\r\n', everyMs: 60_000 }, '220 Go\n250 x'],
    (reaction) => ({
      what: `fails at TLS that is only tried: ${typeof reaction === 'symbol' ? 'closes' : JSON.stringify(reaction)}`,
      options: { certificate: SELF_SIGNED },
      tls: 'Opportunistic',
      react: at('starttls', reaction),
      outcome: ['delivered 250 2.0.0'],
    }),
  ),
  {
    what: 'puts a reply in clear behind that to STARTTLS',
    ...TLS,
    react: at('starttls', '220 2.0.0 Ready\n250-dest.test\n250 SIZE 1'),
    outcome: ['deferred 451 4.7.5 cannot secure the connection to 127.0.0.1: it said more in clear'],
  },
];

interface Run extends Case {
  readonly domain: string;
  readonly destination: Destination;
  readonly addresses: readonly string[];
  /** First outcome of each recipient. */
  outcomes: Promise<readonly RelayLine[]>;
}

let runs: Run[];
let good: Destination;
let deaf: FullBacklog;
let relay: RelayProcess;
/** What became of mail to a good destination, sent while all of the above went on. */
const others: RelayLine[] = [];
let transport: ReturnType<typeof transportTo>;
let idle: number;

before(async () => {
  runs = await Promise.all(
    CASES.map(async (entry, index) => ({
      ...entry,
      domain: `case${index}.test`,
      addresses: (entry.to ?? ['ada']).map((local) => `${local}@case${index}.test`),
      destination: await Destination.start({ ...entry.options, ...(entry.react ? { react: entry.react } : {}) }),
      outcomes: Promise.resolve([]),
    })),
  );
  good = await Destination.start();
  deaf = await FullBacklog.start();
  const refusing = await Destination.start();
  const nobody = refusing.port;
  await refusing[Symbol.asyncDispose]();
  const route = (domain: string, port: number, mode: Case['tls'] = 'Disabled') => ({
    match: { domains: [domain] },
    smarthosts: [{ host: '127.0.0.1', port, tls: { mode } }],
  });
  relay = await RelayProcess.start(good.port, relayWith({ timeouts: TIMEOUTS }), {
    routes: [
      ...runs.map(({ domain, destination, tls }) => route(domain, destination.port, tls)),
      route('deaf.test', deaf.port),
      route('nobody.test', nobody),
      route('*', good.port),
    ],
  });
  idle = relay.peakMemory;
  transport = transportTo(relay.port);
  for (const run of runs) run.outcomes = play(run);
  for (let i = 0; i < 20; i += 1) {
    await send([`x${i}@good.test`]);
    others.push(await firstOutcome(`x${i}@good.test`));
  }
  await Promise.allSettled(runs.map(({ outcomes }) => outcomes));
});
after(async () => {
  transport?.close();
  await relay?.[Symbol.asyncDispose]();
  for (const server of [...runs.map(({ destination }) => destination), good, deaf])
    await server?.[Symbol.asyncDispose]();
});

const transportTo = (port: number) =>
  createTransport({ host: '127.0.0.1', port, ignoreTLS: true, pool: true, maxConnections: 10 });

/** From the null sender: nobody is told of what becomes of it. */
async function send(to: readonly string[], bytes = 100): Promise<string> {
  const raw = `From: app@example.test\r\n\r\n${'A line of some text.\r\n'.repeat(Math.ceil(bytes / 22))}`;
  return queueIdIn((await transport.sendMail({ envelope: { from: '', to: [...to] }, raw })).response);
}

const outcomesOf = (recipient: string): readonly RelayLine[] =>
  relay.lines().filter((line) => line.recipient === recipient && line.attempts !== undefined);

async function firstOutcome(recipient: string): Promise<RelayLine> {
  await relay.logged(
    `an outcome of ${recipient}`,
    (line) => line.recipient === recipient && line.attempts !== undefined,
  );
  const [outcome] = outcomesOf(recipient);
  assert.ok(outcome);
  return outcome;
}

const told = ({ event, reply }: RelayLine): string => `${event} ${reply?.code} ${reply?.enhanced} ${reply?.text}`;

/** Sends to a destination as it is, and mends it then. */
async function play(run: Run): Promise<readonly RelayLine[]> {
  await send(run.addresses, run.bytes);
  const outcomes = await Promise.all(run.addresses.map(firstOutcome));
  run.destination.react = () => undefined;
  return outcomes;
}

test('the mail for others goes on', () => {
  assert.equal(others.length, 20);
  for (const outcome of others) {
    assert.equal(outcome.event, 'delivered');
    assert.ok((outcome.ageMs ?? Number.POSITIVE_INFINITY) < TIMEOUTS.command, `it took ${outcome.ageMs} ms`);
  }
});

describe('a destination that', () => {
  for (const [index, { what, outcome }] of CASES.entries()) {
    test(what, async () => {
      const run = runs[index];
      assert.ok(run);
      for (const [i, first] of (await run.outcomes).entries()) {
        assert.ok(told(first).startsWith(outcome[i] ?? 'nothing'), told(first));
        assert.ok((first.ageMs ?? Number.POSITIVE_INFINITY) < LONGEST_MS, `it took ${first.ageMs} ms`);
      }
      for (const [i, address] of run.addresses.entries()) {
        if (run.never || outcome[i]?.startsWith('bounced')) continue;
        await relay.logged(`${address} is delivered`, (l) => l.recipient === address && l.event === 'delivered');
        const copies: readonly ReceivedMessage[] = run.destination.messages.filter(({ to }) => to.includes(address));
        assert.equal(copies.length, run.taken ? 2 : 1, 'it arrives once');
      }
    });
  }
});

test('one that nobody listens for, and one that does not answer', async () => {
  await send(['ada@nobody.test', 'ada@deaf.test']);
  for (const host of ['nobody', 'deaf']) {
    const first = await firstOutcome(`ada@${host}.test`);
    assert.match(told(first), /^deferred 451 4\.4\.1 cannot connect to 127\.0\.0\.1: /);
    assert.ok((first.ageMs ?? Number.POSITIVE_INFINITY) < LONGEST_MS);
  }
});

test('no connection is left, and memory stayed within bounds', async () => {
  for (const { destination, never, unread } of runs) {
    if (!never && !unread) await destination.until(() => destination.open === 0);
  }
  const used = relay.peakMemory - idle;
  assert.ok(used < MEMORY, `${Math.round(used / 1e6)} MB more than before`);
});
