/** What the log and the queue tell of messages, and what the log never tells. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Destination, type Script } from '../harness/destination.ts';
import { Outbound, routeTo } from '../harness/outbound.ts';
import { base64, SmtpClient } from '../harness/smtp-client.ts';

let destination: Destination;
let outbound: Outbound;
/** Whether late@ is taken. */
let open = true;

/** gone@: refused; late@: not while it is shut. */
const byRecipient: Script = ({ at, argument }) => {
  if (at !== 'rcpt') return undefined;
  if (argument.includes('<gone')) return '550 5.1.1 No such user here';
  return argument.includes('<late') && !open ? '451 4.7.1 Come back later' : undefined;
};

before(async () => {
  destination = await Destination.start({ react: byRecipient });
  outbound = await Outbound.start({
    delivery: { routes: [routeTo(destination.port)], retry: { schedule: ['1s'], expireAfter: '1h' } },
  });
});
after(async () => {
  await destination?.[Symbol.asyncDispose]();
  await outbound?.[Symbol.asyncDispose]();
});

/** A session under TLS. */
async function session(): Promise<SmtpClient> {
  const client = await SmtpClient.connect(outbound.ports.submission);
  await client.startTls();
  return client;
}

test('the log tells each event of a message once, in one line with its queue id', async () => {
  open = false;
  const to = ['now@example.org', 'late@example.org', 'gone@example.org'];
  const queueId = await outbound.send({ to });
  await outbound.event('deferred', queueId, 'late@example.org');
  const listed = await outbound.chasqui('queue', 'list');
  assert.match(listed.stdout, new RegExp(`${queueId} .*late@example\\.org`));
  const shown = await outbound.chasqui('queue', 'show', queueId);
  assert.match(shown.stdout, /^late@example\.org +deferred /m);
  assert.doesNotMatch(shown.stdout, /now@example\.org +(?:queued|deferred)/);
  open = true;
  await outbound.event('delivered', queueId, 'late@example.org');
  assert.match((await outbound.chasqui('queue', 'show', queueId)).stderr, new RegExp(`${queueId} is not queued`));

  const history = outbound.history(queueId);
  assert.deepEqual(
    history.slice(0, 2).map(({ event }) => event),
    ['received', 'signed'],
  );
  const [received, signed, ...outcomes] = history;
  assert.deepEqual([received?.from, received?.to, received?.user], ['user@example.test', to, 'app.default']);
  assert.deepEqual(signed?.selectors, ['chasqui-r1', 'chasqui-e1']);
  const once = outcomes.map(({ event, recipient }) => `${String(event)} ${String(recipient)}`);
  assert.deepEqual(once.filter((line) => line !== 'deferred late@example.org').sort(), [
    'bounced gone@example.org',
    'delivered late@example.org',
    'delivered now@example.org',
  ]);
  const bounced = await outbound.event('bounced', queueId);
  assert.match(JSON.stringify(bounced.reply), /"code":550.*"enhanced":"5\.1\.1".*No such user here/);
  await outbound.event('delivered', String(bounced.dsn), 'user@example.test');
  for (const line of history) assert.ok(typeof line.time === 'string' && typeof line.replica === 'number');
});

test('no password, key or AUTH line is ever in the log, whatever a client does', async () => {
  const password = outbound.secret('app-smtp', 'password');
  const blob = base64(`\0app.default\0${password}`);
  await outbound.send({ to: ['now@example.org'] });
  {
    // In clear; then, as a client that does not look at replies, the answers to challenges that never came.
    await using client = await SmtpClient.connect(outbound.ports.local);
    await client.talk(['EHLO client.test', '250'], [`AUTH PLAIN ${blob}`, '538'], ['AUTH LOGIN', '538']);
    await client.talk([base64('app.default'), '500'], [base64(password), '500']);
  }
  {
    await using client = await session();
    await client.talk([`AUTH PLAIN ${blob} ${blob}`, '501'], [`AUTH ${blob}`, '504'], [`AUTH PLAIN ${blob}!`, '501']);
    await client.talk(['AUTH LOGIN', '334'], [base64(password), '334'], [base64(password), '535']);
  }
  {
    await using client = await session();
    await client.talk([`AUTH PLAIN ${base64(`\0app.default\0${password}x`)}`, '535'], [`AUTH PLAIN ${blob}`, '235']);
    await client.talk([`AUTH PLAIN ${blob}`, '503'], [`MAIL FROM:<user@example.test> AUTH=${blob}`, '501']);
  }
  await outbound.chasqui('status');
  const marker = await outbound.send({ to: ['now@example.org'] });
  await outbound.event('delivered', marker);

  const log = outbound.standalone.lines.map((line) => JSON.stringify(line)).join('\n');
  assert.ok(log.includes('auth_in_clear') && log.includes('wrong_credentials'), 'what was done is told');
  const keys = ['chasqui-r1', 'chasqui-e1'].flatMap((selector) =>
    outbound
      .secret(`example-test-dkim-${selector}`, 'private.pem')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('-----')),
  );
  for (const secret of [password, base64(password), blob, ...keys]) assert.ok(!log.includes(secret), secret);
  assert.doesNotMatch(log, /AUTH (?:PLAIN|LOGIN)|PRIVATE KEY|storedKey|serverKey/i);
});
