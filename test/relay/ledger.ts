/**
 * Counts mail over the kills of a relay: what clients handed over, what the relay said of it in each of its lives, and
 * what arrived. Each try to hand over a message has addresses and a Message-ID of its own, so that a client that sends
 * again what was not answered is not mistaken for a relay that delivers twice.
 */
import assert from 'node:assert/strict';
import type { ConnectionRecord, ReceivedMessage } from '../harness/destination.ts';
import type { RelayLine } from '../harness/relay-process.ts';

/** Fits no row of the spool, so it gets a file. */
const LARGE_LINES = 4_000;

export class Submission {
  readonly sender: string;
  /** Those that the destination takes, at once or the second time. */
  readonly taken: readonly string[];
  /** Those that it refuses, of which the sender is told. */
  readonly refused: readonly string[];
  readonly messageId: string;
  readonly content: string;
  /** How far the client came. inData: it has the 354 and has not sent the final dot. */
  state: 'begun' | 'inData' | 'sent' | 'accepted' = 'begun';
  queueId = '';

  constructor(number: number) {
    this.sender = `from-${number}@example.test`;
    this.refused = number % 7 === 0 ? [`no-${number}@dest.test`] : [];
    const wanted = number % 11 === 0 ? `later-${number}@dest.test` : `yes-${number}@dest.test`;
    this.taken = number % 14 === 0 ? [] : [wanted];
    this.messageId = `<${number}@client.test>`;
    const lines = `This is line of message ${number}, to be told from every other.\r\n`;
    this.content = [
      `From: <${this.sender}>\r\nDate: Tue, 1 Dec 2026 10:00:00 +0000\r\nMessage-ID: ${this.messageId}\r\n`,
      `Subject: ${number}\r\n\r\n${lines.repeat(number % 10 === 0 ? LARGE_LINES + (number % 3) : 20)}`,
    ].join('');
  }
}

interface Arrival {
  readonly life: number;
  readonly message: ReceivedMessage;
}

export interface Counts {
  readonly accepted: number;
  readonly notices: number;
  /** Recipients to whom something arrived more than once. */
  readonly twice: readonly string[];
}

/**
 * Asserts of all that was handed over so far, once the queue is empty: what was answered 250 has arrived, whole; of
 * refused recipients the sender was told by one notice; and nothing arrived twice without excuse.
 *
 * @param lifeOf the life of the relay that a connection came from
 * @param lines what the relay logged in a life
 */
export function count(
  submissions: readonly Submission[],
  messages: readonly ReceivedMessage[],
  lifeOf: ReadonlyMap<ConnectionRecord, number>,
  lines: (life: number) => readonly RelayLine[],
): Counts {
  const arrivals = new Map<string, Arrival[]>();
  for (const message of messages) {
    const life = lifeOf.get(message.connection);
    assert.ok(life !== undefined);
    for (const recipient of message.to) {
      const others = arrivals.get(recipient);
      if (others) others.push({ life, message });
      else arrivals.set(recipient, [{ life, message }]);
    }
  }
  const arrivedAt = (recipient: string): readonly Arrival[] => arrivals.get(recipient) ?? [];

  let notices = 0;
  for (const submission of submissions) {
    for (const recipient of submission.taken) assertWhole(submission, recipient, arrivedAt(recipient));
    notices += noticesOf(submission, arrivedAt(submission.sender));
    for (const recipient of submission.refused) assert.deepEqual(arrivedAt(recipient), [], recipient);
  }
  const known = new Set(submissions.flatMap(({ sender, taken }) => [sender, ...taken]));
  assert.deepEqual(
    [...arrivals.keys()].filter((recipient) => !known.has(recipient)),
    [],
    'arrived out of nowhere',
  );

  assertToldOnce(lines, Math.max(...lifeOf.values()));
  const twice = [...arrivals].filter(([, all]) => all.length > 1);
  for (const [recipient, all] of twice) assertExcused(recipient, all, lines);

  const accepted = submissions.filter(({ state }) => state === 'accepted');
  assert.equal(new Set(accepted.map(({ queueId }) => queueId)).size, accepted.length, 'a queue id was given twice');
  return { accepted: accepted.length, notices, twice: twice.map(([recipient]) => recipient) };
}

function assertWhole({ state, content, messageId }: Submission, recipient: string, arrived: readonly Arrival[]): void {
  if (state === 'accepted') assert.ok(arrived.length > 0, `the message to ${recipient} got its 250 and is lost`);
  // A relay that was killed before it could answer may have kept the message or not.
  else if (state !== 'sent') assert.equal(arrived.length, 0, `half a message was sent to ${recipient}`);
  for (const { message } of arrived) {
    const data = message.data.toString('latin1');
    assert.ok(data.endsWith(`\r\n${content}`), `${messageId} is not what it was`);
    assert.equal(data.match(/^DKIM-Signature:/gm)?.length, 2, `${messageId} is not signed with both keys`);
  }
}

/** The same notice may arrive twice, as any message; two notices of one message may not. */
function noticesOf({ state, refused, taken, sender, messageId }: Submission, arrived: readonly Arrival[]): number {
  const ids = new Set(
    arrived.map(({ message }) => {
      const header = message.data.toString('latin1');
      assert.equal(message.from, '');
      assert.ok(header.includes(`\r\nIn-Reply-To: ${messageId}\r\n`), `the notice to ${sender} is of another message`);
      for (const recipient of refused) assert.ok(header.includes(recipient));
      for (const recipient of taken) assert.ok(!header.includes(recipient));
      return /^Message-ID: (.*)$/m.exec(header)?.[1];
    }),
  );
  const due = refused.length > 0 ? 1 : 0;
  if (state === 'accepted') assert.equal(ids.size, due, `notices to ${sender}`);
  else assert.ok(ids.size <= (state === 'sent' ? due : 0), `notices to ${sender}`);
  return ids.size;
}

/** A final outcome is told when it is on disk: no later life tells another one. */
function assertToldOnce(lines: (life: number) => readonly RelayLine[], lives: number): void {
  const told = new Set<string>();
  for (let life = 1; life <= lives; life++) {
    for (const { event, recipient = '' } of lines(life)) {
      if (event !== 'delivered' && event !== 'bounced') continue;
      assert.ok(!told.has(recipient), `two outcomes of ${recipient}`);
      told.add(recipient);
    }
  }
}

/** Twice is right only where a life took the message past its final dot and was killed before it told so. */
function assertExcused(
  recipient: string,
  arrived: readonly Arrival[],
  lines: (life: number) => readonly RelayLine[],
): void {
  const lives = arrived.map(({ life }) => life).sort((one, other) => one - other);
  assert.equal(new Set(lives).size, lives.length, `the message to ${recipient} arrived twice without a kill`);
  for (const life of lives.slice(0, -1)) {
    const delivered = lines(life).some((line) => line.event === 'delivered' && line.recipient === recipient);
    assert.ok(!delivered, `life ${life} told that the message to ${recipient} is delivered, and it arrived again`);
  }
}
