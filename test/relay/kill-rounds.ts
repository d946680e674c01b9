/** A relay that is killed in the thick of it: none of what it had answered 250 is lost, and only what must is doubled. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type ConnectionRecord, Destination, type Reaction, type Step } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { count, Submission } from './ledger.ts';

const SESSIONS = 32;
const IN_DATA = 12;
const WITHOUT_REPLY = 6;

/** The destination's side. */
class Replies {
  readonly lifeOf = new Map<ConnectionRecord, number>();
  /** Deliveries that were read to their final dot and wait for a reply. */
  readonly waiting = new Map<Step, (reaction: Reaction) => void>();
  readonly #tried = new Set<string>();
  readonly #relay: RelayProcess;
  holding = false;
  onWaiting = (): void => {};

  constructor(relay: RelayProcess) {
    this.#relay = relay;
  }

  readonly react = (step: Step): Reaction | undefined | Promise<Reaction> => {
    if (step.at === 'greeting') this.lifeOf.set(step.connection, this.#relay.life);
    if (step.at === 'rcpt' && step.argument.includes('<no-')) return '550 5.1.1 No such user';
    if (step.at === 'rcpt' && step.argument.includes('<later-') && !this.#tried.has(step.argument)) {
      this.#tried.add(step.argument);
      return '451 4.2.1 Not now';
    }
    if (step.at !== 'dot' || !this.holding || this.waiting.size === WITHOUT_REPLY) return undefined;
    return new Promise((resolve) => {
      this.waiting.set(step, resolve);
      this.onWaiting();
    });
  };

  /** The destination takes what it was sent, whether or not anybody hears it. */
  release(): void {
    this.holding = false;
    for (const resolve of this.waiting.values()) resolve('250 2.0.0 Taken');
    this.waiting.clear();
  }
}

/** The clients' side. */
class Senders {
  readonly submissions: Submission[] = [];
  accepted = 0;
  /** Sessions that have begun a message stay where they are, up to IN_DATA of them. */
  staying = false;
  killed = false;
  #underWay = 0;
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  get inData(): number {
    return this.submissions.filter(({ state }) => state === 'inData').length;
  }

  /** Sends until the relay is killed or so many messages are accepted, counted from the first one ever. */
  async send(until: number, onAccepted: () => void): Promise<void> {
    this.#underWay = 0;
    const session = async (): Promise<void> => {
      try {
        // The kill may come before the greeting.
        await using client = await SmtpClient.connect(this.#port);
        await client.talk(['EHLO client.test', '250-']);
        while (!this.killed && this.accepted + this.#underWay < until) await this.#submit(client, onAccepted);
      } catch (error) {
        if (!this.killed) throw error;
      }
    };
    await Promise.all(Array.from({ length: SESSIONS }, session));
  }

  async #submit(client: SmtpClient, onAccepted: () => void): Promise<void> {
    const submission = new Submission(this.submissions.length + 1);
    this.submissions.push(submission);
    this.#underWay += 1;
    const { sender, taken, refused, content } = submission;
    await client.talk([`MAIL FROM:<${sender}>`, '250 ']);
    for (const recipient of [...taken, ...refused]) await client.talk([`RCPT TO:<${recipient}>`, '250 ']);
    await client.talk(['DATA', '354 ']);
    submission.state = 'inData';
    if (this.staying && this.inData <= IN_DATA) {
      client.send(content.slice(0, content.length / 2));
      await client.ended();
      return;
    }
    submission.state = 'sent';
    const reply = await client.content(content);
    const [, queueId] = /^250 2\.6\.0 queued as (\S+)$/.exec(reply) ?? [];
    assert.ok(queueId, reply);
    Object.assign(submission, { state: 'accepted', queueId });
    this.accepted += 1;
    this.#underWay -= 1;
    onAccepted();
  }
}

export interface Rounds {
  readonly rounds: number;
  /** Handed over in each round, before and after the kill. */
  readonly messages: number;
}

/**
 * Rounds of mail, each with a kill in it, and the ledger of all that was handed over after each. Every other kill comes
 * at any moment; the rest comes when some sessions are in DATA, some wait for their 250, and some deliveries are past
 * their final dot without a reply.
 */
export async function killRounds(t: TestContext, { rounds, messages }: Rounds): Promise<void> {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const replies = new Replies(relay);
  destination.react = replies.react;
  const senders = new Senders(relay.port);

  for (let round = 1; round <= rounds; round++) {
    const before = senders.accepted;
    const from = Math.floor(messages * 0.3 * Math.random());
    const atKill =
      round % 2 === 0
        ? await killAtAnyMoment(senders, relay, before + messages)
        : await killInTheThick(senders, relay, replies, { from: before + from, until: before + messages });
    const accepted = senders.accepted - before;
    const delivered = relay.lines().filter(({ event }) => event === 'delivered').length;
    replies.release();

    senders.killed = false;
    senders.staying = false;
    for (const submission of senders.submissions) if (submission.state === 'inData') submission.state = 'begun';
    await relay.run();
    await senders.send(before + messages, () => {});
    await relay.untilEmpty();

    const counts = count(senders.submissions, destination.messages, replies.lifeOf, (life) => relay.lines(life));
    // The relay cannot know that they were taken (RFC 1047).
    for (const recipient of atKill.doubled) assert.ok(counts.twice.includes(recipient), `${recipient} arrived once`);
    assert.deepEqual(readdirSync(join(relay.spool, 'bodies')), [], 'a body was left behind');
    t.diagnostic(
      `kill ${round}, ${atKill.when}: ${accepted} accepted, ${delivered} delivered, ` +
        `${atKill.doubled.length} deliveries surely without a reply; in all so far ${counts.accepted} accepted, ` +
        `${counts.notices} notices, ${counts.twice.length} arrived twice`,
    );
  }
}

interface Killed {
  readonly when: string;
  /** To whom something was delivered whose reply never came. */
  readonly doubled: readonly string[];
}

async function killInTheThick(
  senders: Senders,
  relay: RelayProcess,
  replies: Replies,
  { from, until }: { readonly from: number; readonly until: number },
): Promise<Killed> {
  let killed: Promise<void> | undefined;
  let doubled: readonly string[] = [];
  const look = (): void => {
    if (senders.accepted < from) return;
    senders.staying = true;
    replies.holding = true;
    if (killed || senders.inData < IN_DATA || replies.waiting.size < WITHOUT_REPLY) return;
    killed = relay.kill();
    senders.killed = true;
    doubled = [...replies.waiting.keys()].flatMap(({ envelope }) => envelope.to);
  };
  replies.onWaiting = look;
  await senders.send(until, look);
  assert.ok(killed, 'all messages were sent before the kill');
  await killed;
  assert.ok(doubled.length >= WITHOUT_REPLY, `${doubled.length} deliveries without a reply`);
  return { when: 'in the thick of it', doubled };
}

/** Up to twice as long after the first 250 as a message takes on the whole way, on however busy a machine. */
async function killAtAnyMoment(senders: Senders, relay: RelayProcess, until: number): Promise<Killed> {
  let killed: Promise<void> | undefined;
  let delayMs = 0;
  const begun = performance.now();
  const kill = (): void => {
    senders.killed = true;
    killed = relay.kill();
  };
  let timer: NodeJS.Timeout | undefined;
  await senders.send(until, () => {
    if (timer) return;
    delayMs = 2 * (performance.now() - begun) * Math.random();
    timer = setTimeout(kill, delayMs);
  });
  if (!killed) {
    // All is handed over; some of it is on its way out.
    clearTimeout(timer);
    kill();
  }
  await killed;
  return { when: `${Math.round(delayMs)} ms after the first 250`, doubled: [] };
}
