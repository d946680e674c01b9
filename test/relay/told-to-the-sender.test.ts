/** What becomes of each recipient, and how the sender hears of those who could not be reached. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Destination, first, type ReceivedMessage, type Script } from '../harness/destination.ts';
import { Outbound, routeTo } from '../harness/outbound.ts';
import { needsPython } from '../harness/python.ts';
import { assertSignatures } from '../harness/signatures.ts';

let destination: Destination;
/** Takes no UTF-8 addresses. */
let plain: Destination;
let outbound: Outbound;

before(async () => {
  plain = await Destination.start({ name: 'plain.test', extensions: ['8BITMIME', 'PIPELINING'] });
  destination = await Destination.start({ react: byRecipient });
  outbound = await Outbound.start({
    delivery: {
      routes: [routeTo(plain.port, 'plain.test'), routeTo(destination.port)],
      retry: { schedule: ['1s'], expireAfter: '5s' },
    },
  });
});
after(async () => {
  await outbound?.[Symbol.asyncDispose]();
  await destination?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
});

/** gone@: refused; full@: never now; slow@: not the first time. */
const byRecipient: Script = (step) => {
  if (step.at !== 'rcpt') return undefined;
  if (step.argument.includes('<gone')) return '550 5.1.1 No such user here';
  if (step.argument.includes('<full')) return '452 4.2.2 Mailbox full';
  return slowOnce(step);
};
const slowOnce = first(1, ({ argument }) => (argument.includes('<slow') ? '451 4.7.1 Come back later' : undefined));

/** Notices to a sender, once there are as many. */
async function noticesTo(sender: string, count = 1): Promise<readonly ReceivedMessage[]> {
  const find = () => destination.messages.filter(({ to }) => to.includes(sender));
  await destination.until(() => find().length >= count, 60_000);
  return find();
}

async function noticeTo(sender: string): Promise<{ readonly message: ReceivedMessage; readonly text: string }> {
  const [message, ...others] = await noticesTo(sender);
  assert.ok(message);
  assert.deepEqual(others, [], 'one notice');
  assert.deepEqual([message.from, message.to], ['', [sender]], 'from nobody, to the sender alone');
  const text = message.data.toString();
  assert.match(text, /^Content-Type: multipart\/report; report-type=delivery-status;/m);
  assert.match(text, new RegExp(`^To: .*${sender}`, 'm'));
  return { message, text };
}

const recipientsIn = (text: string): readonly string[] =>
  [...text.matchAll(/^Final-Recipient: rfc822; ?(.+)\r$/gm)].flatMap(([, address]) => address ?? []);

async function untilQueueIsEmpty(): Promise<void> {
  const queued = async (): Promise<unknown> =>
    JSON.parse((await outbound.chasqui('queue', 'list', '-o', 'json')).stdout);
  await outbound.standalone.until('nothing is queued', async () => {
    const messages = await queued();
    return Array.isArray(messages) && messages.length === 0;
  });
}

test('a recipient refused with 550 is told to the sender, in a report that is signed', needsPython, async () => {
  const from = 'refused@example.test';
  const queueId = await outbound.send({ from, to: ['gone@example.org'], subject: 'To nobody' });
  const { message, text } = await noticeTo(from);
  assert.deepEqual(recipientsIn(text), ['gone@example.org']);
  assert.match(text, /^Action: failed\r$/m);
  assert.match(text, /^Status: 5\.1\.1\r$/m);
  assert.match(text, /^Diagnostic-Code: smtp; ?550 5\.1\.1 No such user here\r$/m);
  assert.match(text, /^Subject: To nobody\r$/m, 'the header of the message comes back');
  await assertSignatures(message.data, await outbound.zone(), 'pass');
  const bounced = await outbound.event('bounced', queueId);
  assert.ok(typeof bounced.dsn === 'string');
  await outbound.event('delivered', bounced.dsn);
});

test(
  'a recipient who could not be reached in time is told to the sender, in a report that is signed',
  needsPython,
  async () => {
    const from = 'expired@example.test';
    const queueId = await outbound.send({ from, to: ['full@example.org'] });
    const { message, text } = await noticeTo(from);
    assert.deepEqual(recipientsIn(text), ['full@example.org']);
    assert.match(text, /^Action: failed\r$/m);
    assert.match(text, /^Diagnostic-Code: smtp; ?452 4\.2\.2 Mailbox full\r$/m);
    await assertSignatures(message.data, await outbound.zone(), 'pass');
    const { attempts, ageMs } = await outbound.event('expired', queueId);
    assert.ok(Number(attempts) >= 2 && Number(ageMs) >= 5_000, `${String(attempts)} attempts in ${String(ageMs)} ms`);
  },
);

test('of one message each recipient is judged by itself: taken at once, taken later, refused', async () => {
  const from = 'each@example.test';
  const queueId = await outbound.send({ from, to: ['now@example.org', 'slow@example.org', 'gone@example.org'] });
  await outbound.event('delivered', queueId, 'slow@example.org');
  const deliveries = destination.messages.filter((message) => message.from === from);
  assert.deepEqual(
    deliveries.map(({ to }) => to),
    [['now@example.org'], ['slow@example.org']],
  );
  assert.ok(deliveries[0]?.data.equals(deliveries[1]?.data ?? Buffer.alloc(0)), 'both got the same bytes');
  const { text } = await noticeTo(from);
  assert.deepEqual(recipientsIn(text), ['gone@example.org']);
  await untilQueueIsEmpty();
  assert.deepEqual(
    outbound
      .history(queueId)
      .filter(({ recipient }) => recipient !== undefined)
      .map(({ event, recipient, attempts }) => `${String(event)} ${String(recipient)} ${String(attempts)}`)
      .sort(),
    [
      'bounced gone@example.org 1',
      'deferred slow@example.org 1',
      'delivered now@example.org 1',
      'delivered slow@example.org 2',
    ],
  );
});

test('a UTF-8 address where the next hop has no SMTPUTF8 is returned with 5.6.7, and no other', async () => {
  const from = 'utf8@example.test';
  await outbound.send({ from, to: ['jörg@plain.test', 'ada@plain.test'] });
  const { text } = await noticeTo(from);
  assert.match(text, /^Status: 5\.6\.7\r$/m);
  assert.match(text, /^Final-Recipient: (?:utf-8|rfc822); ?j\S+@plain\.test\r$/m);
  assert.equal([...text.matchAll(/^Action: failed\r$/gm)].length, 1);
  await plain.received(1);
  assert.deepEqual(
    plain.messages.map(({ to }) => to),
    [['ada@plain.test']],
  );
  const lines = plain.connections.flatMap((connection) => connection.lines);
  assert.deepEqual(
    lines.filter((line) => line.startsWith('RCPT')),
    ['RCPT TO:<ada@plain.test>'],
  );
});

test('a message without a sender is given up without a notice to anyone', async () => {
  await untilQueueIsEmpty();
  const before = destination.messages.length;
  const queueId = await outbound.send({ envelopeFrom: '', to: ['gone@example.org', 'now@example.org'] });
  const bounced = await outbound.event('bounced', queueId);
  assert.equal(bounced.dsn, undefined);
  await outbound.event('delivered', queueId, 'now@example.org');
  await untilQueueIsEmpty();
  assert.deepEqual(
    destination.messages.slice(before).map((message) => [message.from, message.to]),
    [['', ['now@example.org']]],
  );
});
