/**
 * Name servers that fail, hang and lie: what they cannot say now is asked again, what they say for sure ends the matter,
 * and whatever they send an attempt ends in bounded time while other mail goes on.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, encode, type Packet, TRUNCATED_RESPONSE } from 'dns-packet';
import { createTransport } from 'nodemailer';
import { Destination } from '../harness/destination.ts';
import { type DnsFault, MockDns } from '../harness/dns.ts';
import { type RelayLine, RelayProcess } from '../harness/relay-process.ts';
import { relayWith } from '../harness/relay-program.ts';

const TIMEOUTS = { dns: 300, attempt: 5_000 };
/** The longest attempt, with one more query that began in time, on a busy machine. */
const LONGEST_MS = 2 * TIMEOUTS.attempt;
const MEMORY = 100 * 1024 * 1024;

/** RFC 1035 4.1.1. */
const REFUSED = 5;
const answering =
  (changes: (query: Packet) => Packet): DnsFault =>
  (_, query) =>
    encode({ type: 'response', id: query.id ?? 0, questions: query.questions ?? [], ...changes(query) });

const mx = (name: string, preference: number, exchange: string): Answer => ({
  type: 'MX',
  name,
  data: { preference, exchange },
});
const alias = (name: string, data: string): Answer => ({ type: 'CNAME', name, data });

interface Case {
  readonly what: string;
  /** What is asked for the domain, or for the host named here, fails so. */
  readonly fault?: DnsFault;
  readonly records?: (domain: string) => readonly Answer[];
  readonly outcome: string;
}

const PASSING = 'deferred 451 4.4.3 ';

const CASES: readonly Case[] = [
  { what: 'says nothing', fault: 'silent', outcome: PASSING },
  { what: 'fails', fault: 'servfail', outcome: PASSING },
  { what: 'refuses', fault: answering(() => ({ flags: REFUSED })), outcome: PASSING },
  { what: 'sends an empty packet', fault: () => Buffer.alloc(0), outcome: PASSING },
  { what: 'sends a packet that is cut off', fault: (bytes) => bytes.subarray(0, 11), outcome: PASSING },
  {
    what: 'sends nonsense as its answer',
    fault: (bytes) => {
      const answer = Buffer.concat([bytes, Buffer.alloc(100, 0xff)]);
      // QR, and one answer.
      answer.writeUInt16BE(0x8180, 2);
      answer.writeUInt16BE(1, 6);
      return answer;
    },
    outcome: PASSING,
  },
  { what: 'has the id of another query', fault: answering(({ id = 0 }) => ({ id: id ^ 1 })), outcome: PASSING },
  {
    what: 'answers another question',
    fault: answering(() => ({
      questions: [{ type: 'MX', name: 'other.test' }],
      answers: [mx('other.test', 1, 'mx.test')],
    })),
    outcome: PASSING,
  },
  {
    what: 'cuts off its answer, and is silent over TCP',
    fault: (_, query, over) =>
      over === 'udp'
        ? encode({ type: 'response', id: query.id ?? 0, flags: TRUNCATED_RESPONSE, questions: query.questions ?? [] })
        : undefined,
    outcome: PASSING,
  },
  {
    what: 'is silent about the MX host',
    records: (domain) => [mx(domain, 1, `silent.${domain}`)],
    outcome: PASSING,
  },
  {
    what: 'is silent about thirty MX hosts',
    records: (domain) => Array.from({ length: 30 }, (_, i) => mx(domain, i, `silent.${i}.${domain}`)),
    outcome: PASSING,
  },
  {
    what: 'has a thousand MX hosts, the best of which is good',
    records: (domain) => [
      mx(domain, 1, 'mx.good.test'),
      ...Array.from({ length: 1_000 }, (_, i) => mx(domain, 2 + i, `host-with-a-long-name-${i}.${domain}`)),
    ],
    outcome: 'delivered 250 2.0.0 ',
  },
  {
    what: 'has a thousand addresses for its MX host, the first of which is good',
    records: (domain) => [
      mx(domain, 1, `mx.${domain}`),
      ...Array.from(
        { length: 1_000 },
        (_, i): Answer => ({ type: 'A', name: `mx.${domain}`, data: `127.0.${i >> 8}.${i & 255}` }),
      ).slice(1),
    ],
    outcome: 'delivered 250 2.0.0 ',
  },
  {
    what: 'sends in circles',
    records: (domain) => [alias(domain, `b.${domain}`), alias(`b.${domain}`, domain)],
    outcome: 'bounced 550 5.1.2 ',
  },
  {
    what: 'sends in circles for the MX host',
    records: (domain) => [
      mx(domain, 1, `a.${domain}`),
      alias(`a.${domain}`, `b.${domain}`),
      alias(`b.${domain}`, `a.${domain}`),
    ],
    outcome: 'bounced 550 5.4.4 ',
  },
  {
    what: 'names a host that is no name',
    records: (domain) => [mx(domain, 1, 'a\r\nRCPT TO:<x@dest.test> \0.test')],
    outcome: 'bounced 550 5.4.4 ',
  },
];

const domains = CASES.map((_, index) => `case${index}.test`);
let destination: Destination;
let dns: MockDns;
let relay: RelayProcess;
let idle: number;
const others: RelayLine[] = [];

before(async () => {
  destination = await Destination.start({ host: '127.0.0.1' });
  dns = await MockDns.start();
  dns.add(mx('good.test', 1, 'mx.good.test'), { type: 'A', name: 'mx.good.test', data: '127.0.0.1' });
  for (const [index, { fault, records }] of CASES.entries()) {
    const domain = domains[index] ?? '';
    dns.fail(domain, fault).add(...(records?.(domain) ?? [mx(domain, 1, 'mx.good.test')]));
    for (const { name } of silentHosts(domain, records)) dns.fail(name, 'silent');
  }
  relay = await RelayProcess.start(destination.port, relayWith({ timeouts: TIMEOUTS }), {
    routes: [],
    direct: { resolvers: [dns.address], port: destination.port },
  });
  idle = relay.peakMemory;
  await Promise.all(domains.map((domain) => send(`ada@${domain}`)));
  for (let i = 0; i < 10; i += 1) {
    await send(`x${i}@good.test`);
    others.push(await firstOutcome(`x${i}@good.test`));
  }
});
after(async () => {
  await relay?.[Symbol.asyncDispose]();
  for (const server of [destination, dns]) await server?.[Symbol.asyncDispose]();
});

const silentHosts = (domain: string, records: Case['records']): readonly { readonly name: string }[] =>
  (records?.(domain) ?? []).flatMap((record) =>
    record.type === 'MX' && record.data.exchange.startsWith('silent.') ? [{ name: record.data.exchange }] : [],
  );

/** From the null sender: nobody is told of what becomes of it. */
async function send(to: string): Promise<void> {
  const transport = createTransport({ host: '127.0.0.1', port: relay.port, ignoreTLS: true });
  await transport.sendMail({ envelope: { from: '', to: [to] }, raw: 'From: app@example.test\r\n\r\nHello.\r\n' });
  transport.close();
}

async function firstOutcome(recipient: string): Promise<RelayLine> {
  const isOutcome = (line: RelayLine) => line.recipient === recipient && line.attempts !== undefined;
  await relay.logged(`an outcome of ${recipient}`, isOutcome);
  const outcome = relay.lines().find(isOutcome);
  assert.ok(outcome);
  return outcome;
}

const told = ({ event, reply }: RelayLine): string => `${event} ${reply?.code} ${reply?.enhanced} ${reply?.text}`;

test('mail for others goes on', () => {
  for (const outcome of others) {
    assert.equal(outcome.event, 'delivered');
    assert.ok((outcome.ageMs ?? Number.POSITIVE_INFINITY) < 3_000, `it took ${outcome.ageMs} ms`);
  }
});

describe('a name server that', () => {
  for (const [index, { what, outcome }] of CASES.entries()) {
    test(what, async () => {
      const recipient = `ada@${domains[index]}`;
      const first = await firstOutcome(recipient);
      assert.ok(told(first).startsWith(outcome), told(first));
      assert.ok((first.ageMs ?? Number.POSITIVE_INFINITY) < LONGEST_MS, `it took ${first.ageMs} ms`);
    });
  }
});

test('what was deferred arrives once the name server can answer', async () => {
  for (const [index, { fault, outcome }] of CASES.entries()) {
    if (outcome !== PASSING || fault === undefined) continue;
    const recipient = `ada@${domains[index]}`;
    dns.fail(domains[index] ?? '', undefined);
    await relay.logged(
      `${recipient} is delivered`,
      (line) => line.recipient === recipient && line.event === 'delivered',
    );
    assert.equal(destination.messages.filter(({ to }) => to.includes(recipient)).length, 1);
  }
});

test('memory stayed within bounds', () => {
  const used = relay.peakMemory - idle;
  assert.ok(used < MEMORY, `${Math.round(used / 1e6)} MB more than before`);
});
