/**
 * What testers of open relays try, and what has worked somewhere: against the real program, from a client that no
 * network exempts and that has not authenticated, no form of sender, recipient, parameter or prelude is taken. And a
 * client that may send, sends as its own senders only, and to the domain that stands last in the recipient.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send, USER, userManifest } from '../harness/local-relay.ts';
import { samplesOf } from '../harness/monitoring.ts';
import { base64, SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** An address of this machine that the relay does not exempt. */
const STRANGER = '127.0.0.2';

let destination: Destination;
let standalone: Standalone;
let ports: { local: number; submission: number; submissions: number; monitoring: number };

before(async () => {
  const [local = 0, submission = 0, submissions = 0, monitoring = 0] = await freePorts(4);
  ports = { local, submission, submissions, monitoring };
  destination = await Destination.start();
  standalone = await Standalone.start({
    'relay.yaml': relay({ port: local, submission, monitoring, destination: destination.port })
      .replace('127.0.0.0/8', '127.0.0.1/32')
      .replace('  listeners:', `  listeners:\n    - {name: submissions, protocol: Submissions, port: ${submissions}}`),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
});
after(async () => {
  await standalone[Symbol.asyncDispose]();
  await destination[Symbol.asyncDispose]();
});

/** How a stranger comes to a listener that takes mail of others. */
const WAYS = {
  'in clear, where others need no AUTH': () => SmtpClient.connect(ports.local, { from: STRANGER }),
  'under TLS, where others need no AUTH': async () => {
    const client = await SmtpClient.connect(ports.local, { from: STRANGER });
    await client.startTls();
    return client;
  },
  'in clear, where TLS is required': () => SmtpClient.connect(ports.submission, { from: STRANGER }),
  'after STARTTLS': async () => {
    const client = await SmtpClient.connect(ports.submission);
    await client.startTls();
    return client;
  },
  'under TLS from the first byte': () => SmtpClient.connect(ports.submissions, { implicitTls: true }),
} as const;

const HELLOS = [
  'EHLO client.test',
  'HELO client.test',
  'EHLO relay.example.test',
  'EHLO localhost',
  'EHLO [127.0.0.1]',
  'HELO example.test',
  'EHLO app.default',
] as const;

/** What else has been believed of a client. */
const PRELUDES = [
  'XCLIENT ADDR=127.0.0.1 LOGIN=app.default',
  'XFORWARD ADDR=127.0.0.1',
  'PROXY TCP4 127.0.0.1 127.0.0.1 40000 25',
  'AUTH ANONYMOUS YQ==',
  'AUTH EXTERNAL =',
  'AUTH EXTERNAL YXBwLmRlZmF1bHQ=',
  `AUTH PLAIN ${base64('\0\0')}`,
  `AUTH PLAIN ${base64('\0app.default\0')}`,
  `AUTH PLAIN ${base64('app.default\0\0')}`,
  'AUTH PLAIN =',
] as const;

const SENDERS = [
  '<>',
  '<app@example.test>',
  '<postmaster@example.test>',
  '<stranger@elsewhere.test>',
  '<stranger@relay.example.test>',
  '<stranger@localhost>',
  '<stranger@[127.0.0.1]>',
  '<stranger@[IPv6:::1]>',
  '<stranger>',
  'app@example.test',
  '<app@example.test> AUTH=<>',
  '<app@example.test> AUTH=app@example.test',
  '<stranger@elsewhere.test> AUTH=app+40example.test',
  '<app@example.test> BODY=8BITMIME SMTPUTF8 SIZE=1',
  '<@localhost:app@example.test>',
] as const;

const RECIPIENTS = [
  '<ana@dest.test>',
  'ana@dest.test',
  '<ana%dest.test>',
  '<ana%dest.test@example.test>',
  '<ana%dest.test@relay.example.test>',
  '<ana%dest.test@[127.0.0.1]>',
  '<ana@dest.test@relay.example.test>',
  '<"ana@dest.test">',
  '<"ana%dest.test">',
  '<"ana@dest.test"@relay.example.test>',
  '<"ana@dest.test"@[127.0.0.1]>',
  '<"ana%dest.test"@example.test>',
  '<@relay.example.test:ana@dest.test>',
  '<@[127.0.0.1]:ana@dest.test>',
  '<@example.test,@relay.example.test:ana@dest.test>',
  '<dest.test!ana>',
  '<dest.test!ana@relay.example.test>',
  '<dest.test!ana@[127.0.0.1]>',
  '<"dest.test!ana"@relay.example.test>',
  '<ana@[203.0.113.9]>',
  '<ana@[127.0.0.1]>',
  '<ana@127.0.0.1>',
  '<postmaster>',
  '<postmaster@example.test>',
  '<ana@dest.test> ORCPT=rfc822;app@example.test',
  '<app@example.test> NOTIFY=NEVER',
] as const;

/** Until the server has ended the session, or answered each line; one that ends it early has refused the rest. */
async function answers(client: SmtpClient, lines: readonly string[]): Promise<readonly string[]> {
  const replies: string[] = [];
  for (const line of lines) {
    const reply = await client.say(line).catch(() => '421 ended');
    replies.push(reply);
    if (reply.startsWith('421 ')) break;
  }
  return replies;
}

for (const [way, come] of Object.entries(WAYS)) {
  test(`a stranger is refused ${way}, whatever the names`, async () => {
    await using client = await come();
    for (const hello of HELLOS) {
      await client.talk([hello, '250']);
      for (const sender of SENDERS) {
        const [mail = '', ...rest] = await answers(client, [
          `MAIL FROM:${sender}`,
          ...RECIPIENTS.map((recipient) => `RCPT TO:${recipient}`),
          'DATA',
        ]);
        assert.match(mail, /^530 5\.7\.0 (?:must issue STARTTLS first|authentication required)$/, `${hello} ${sender}`);
        assert.deepEqual(new Set(rest.map((reply) => reply.slice(0, 9))), new Set(['503 5.5.1']));
      }
    }
  });

  test(`a stranger is refused ${way}, whatever was said before`, async () => {
    for (const prelude of PRELUDES) {
      await using client = await come();
      await client.talk(['EHLO client.test', '250-']);
      const replies = await answers(client, [
        prelude,
        'MAIL FROM:<app@example.test>',
        'RCPT TO:<ana@dest.test>',
        'DATA',
      ]);
      assert.doesNotMatch(replies.join('\n'), /^(?:2|3)/m, prelude);
    }
  });

  test(`a stranger is refused ${way}, who sends all at once and looks at no reply`, async () => {
    await using client = await come();
    client.send(
      'EHLO client.test\r\nMAIL FROM:<app@example.test>\r\nRCPT TO:<ana@dest.test>\r\nDATA\r\n' +
        'From: app@example.test\r\n\r\nHello\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<ana@dest.test>\r\nDATA\r\nQUIT\r\n',
    );
    const said = await client.ended();
    assert.match(said, /^221 2\.0\.0 /m);
    assert.doesNotMatch(said, /^(?:354|235|250 2\.[16]\.)/m);
  });
}

/** A session that has authenticated. */
async function user(): Promise<SmtpClient> {
  const client = await SmtpClient.connect(ports.submission);
  await client.startTls();
  const password = readFileSync(join(standalone.state, 'secrets/default/app-smtp/password'), 'utf8');
  assert.match(await client.authenticate('app.default', password), /^235 /);
  return client;
}
/** A session of a network that needs no AUTH. */
async function exempt(): Promise<SmtpClient> {
  const client = await SmtpClient.connect(ports.local);
  await client.talk(['EHLO client.test', '250-']);
  return client;
}

/** Names that look like a sender of example.test to one who reads them in another way. */
const FORGERIES: readonly (readonly [path: string, reply: string])[] = [
  ['<boss@elsewhere.test>', '550 5.7.1'],
  ['<boss@sub.example.test>', '550 5.7.1'],
  ['<boss@example.test.elsewhere.test>', '550 5.7.1'],
  ['<boss@elsewhereexample.test>', '550 5.7.1'],
  ['<"app@example.test"@elsewhere.test>', '550 5.7.1'],
  ['<app%example.test@elsewhere.test>', '550 5.7.1'],
  ['<example.test!app@elsewhere.test>', '550 5.7.1'],
  ['<@example.test:boss@elsewhere.test>', '550 5.7.1'],
  ['<boss@elsewhere.test> AUTH=<app@example.test>', '550 5.7.1'],
  ['<boss@elsewhere.test> AUTH=app@example.test', '550 5.7.1'],
  ['<boss@[127.0.0.1]>', '550 5.7.1'],
  ['<boss@[IPv6:::1]>', '550 5.7.1'],
  ['<boss@localhost>', '550 5.7.1'],
  ['<boss@relay.example.test>', '550 5.7.1'],
  ['<boss@ехample.test> SMTPUTF8', '550 5.7.1'],
  ['<app@example.test@elsewhere.test>', '553 5.1.7'],
  ['<boss@example.test.>', '553 5.1.7'],
  ['<boss@elsewhere.test>@example.test>', '553 5.1.7'],
  ['<boss@elsewhere.test,app@example.test>', '553 5.1.7'],
  ['<boss@elsewhere.test><app@example.test>', '553 5.1.7'],
  ['boss@elsewhere.test <app@example.test>', '553 5.1.7'],
  ['<boss@elsewhere.test app@example.test>', '553 5.1.7'],
  ['<app@example.test(@elsewhere.test)>', '553 5.1.7'],
  ['<boss@elsewhere.test#@example.test>', '553 5.1.7'],
  ['<boss@127.0.0.1>', '553 5.1.7'],
  ['<boss>', '553 5.1.7'],
];

for (const [who, begin] of [
  ['a user', user],
  ['an exempt client', exempt],
] as const) {
  test(`${who} sends as no other, however the other is written`, async () => {
    await using client = await begin();
    for (const [path, reply] of FORGERIES) {
      const said = await client.say(`MAIL FROM:${path}`);
      assert.ok(said.startsWith(reply), `${path}: ${said}`);
      await client.talk(['DATA', '503 5.5.1']);
    }
  });

  test(`${who} says nothing under the null sender that it may not say under its own`, async () => {
    await using client = await begin();
    await client.talk(['MAIL FROM:<>', '250 '], ['RCPT TO:<ana@dest.test>', '250 '], ['DATA', '354 ']);
    assert.match(await client.content('From: boss@elsewhere.test\r\n\r\nHello\r\n'), /^550 5\.7\.1 /);
  });
}

/** A recipient as it is given, and as it goes on: never to the domain that is hidden in the local part. */
const GOES_TO: readonly (readonly [given: string, as: string])[] = [
  ['ana%dest.test@elsewhere.test', 'ana%dest.test@elsewhere.test'],
  ['"ana@dest.test"@elsewhere.test', '"ana@dest.test"@elsewhere.test'],
  ['dest.test!ana@elsewhere.test', 'dest.test!ana@elsewhere.test'],
  ['@dest.test,@relay.example.test:ana@elsewhere.test', 'ana@elsewhere.test'],
];

test('a user reaches the domain that stands last, and its sender goes on as it was', async () => {
  await using elsewhere = await Destination.start();
  standalone.edit('relay.yaml', (text) =>
    text.replace(
      'routes:\n',
      `routes:\n      - {match: {domains: [elsewhere.test]}, smarthosts: [{host: 127.0.0.1, port: ${elsewhere.port}, tls: {mode: Disabled}}]}\n`,
    ),
  );
  await using client = await user();
  await standalone.until('the route is in force', async () => {
    await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<probe@elsewhere.test>', '250 ']);
    await client.talk(['DATA', '354 ']);
    assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
    return elsewhere.messages.length > 0;
  });
  const reached = () => elsewhere.messages.flatMap(({ to }) => to).filter((to) => !to.startsWith('probe@'));
  for (const [given] of GOES_TO) {
    await client.talk(
      ['MAIL FROM:<app@example.test> AUTH=<>', '250 '],
      [`RCPT TO:<${given}>`, '250 '],
      ['DATA', '354 '],
    );
    assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  }
  await elsewhere.until(() => reached().length === GOES_TO.length);
  assert.deepEqual(reached().sort(), GOES_TO.map(([, as]) => as).sort());
  assert.deepEqual(new Set(elsewhere.messages.map(({ from }) => from)), new Set(['app@example.test']));
});

test('all in all nothing of a stranger was taken: the one who may send is heard at once', async () => {
  const sent = (await samplesOf([ports.monitoring])).get('chasqui_messages_received_total{listener="local"}') ?? 0;
  assert.equal(sent, 0, 'what came in on the listener that exempts others');
  await send(ports.local, 'from an exempt client');
  await destination.until(() => destination.messages.some(({ data }) => data.includes('from an exempt client')));
  const others = destination.messages.filter(({ from }) => from !== 'app@example.test' && from !== 'shop@example.test');
  assert.deepEqual(others, []);
});
