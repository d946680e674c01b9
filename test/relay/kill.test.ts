/** A relay that is killed in the thick of it: none of what it had answered 250 is lost, and only what must is doubled. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ConnectionRecord, Destination, type Reaction, type Step } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { count, Submission } from './ledger.ts';

const KILLS = 3;
/** Between one kill and the next. */
const MESSAGES = 500;
/** Accepted when it becomes serious: from now on some sessions stay in DATA, and some deliveries get no reply. */
const BEFORE_THE_KILL = 200;
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
    return new Promise((resolve) => this.waiting.set(step, resolve));
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
      await using client = await SmtpClient.connect(this.#port);
      try {
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

test(`of ${KILLS} times ${MESSAGES} messages none is lost over SIGKILL, and none is doubled without need`, async (t) => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const replies = new Replies(relay);
  destination.react = replies.react;
  const senders = new Senders(relay.port);

  for (let kill = 1; kill <= KILLS; kill++) {
    const before = senders.accepted;
    let killed: Promise<void> | undefined;
    let atKill = { inData: 0, doubled: [] as readonly string[] };
    await senders.send(before + MESSAGES, () => {
      if (senders.accepted < before + BEFORE_THE_KILL) return;
      senders.staying = true;
      replies.holding = true;
      const { inData } = senders;
      if (killed || inData < IN_DATA || replies.waiting.size < WITHOUT_REPLY) return;
      // A 250 has just come; other sessions are waiting for theirs.
      killed = relay.kill();
      senders.killed = true;
      atKill = { inData, doubled: [...replies.waiting.keys()].flatMap(({ envelope }) => envelope.to) };
    });
    assert.ok(killed, 'all messages were sent before the kill');
    await killed;
    const accepted = senders.accepted - before;
    const delivered = relay.lines().filter(({ event }) => event === 'delivered').length;
    assert.ok(atKill.inData >= 10, `${atKill.inData} sessions in DATA`);
    assert.ok(atKill.doubled.length >= 5, `${atKill.doubled.length} deliveries without a reply`);
    assert.ok(delivered > 0 && accepted < MESSAGES, `${delivered} delivered, ${accepted} accepted`);
    replies.release();

    senders.killed = false;
    senders.staying = false;
    for (const submission of senders.submissions) if (submission.state === 'inData') submission.state = 'begun';
    await relay.run();
    await senders.send(before + MESSAGES, () => {});
    await relay.untilEmpty();

    const counts = count(senders.submissions, destination.messages, replies.lifeOf, (life) => relay.lines(life));
    // The relay cannot know that they were taken (RFC 1047).
    for (const recipient of atKill.doubled) assert.ok(counts.twice.includes(recipient), `${recipient} arrived once`);
    assert.deepEqual(readdirSync(join(relay.spool, 'bodies')), [], 'a body was left behind');
    t.diagnostic(
      `kill ${kill}: ${accepted} accepted, ${delivered} delivered, ${atKill.inData} sessions in DATA, ` +
        `${atKill.doubled.length} deliveries without a reply; in all so far ${counts.accepted} accepted, ` +
        `${counts.notices} notices, ${counts.twice.length} arrived twice`,
    );
  }
});
