/** What clients that do it wrong are told, by a running relay: nothing of it is taken. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CONFIG, PASSWORD, Receiving } from '../harness/receiving.ts';
import { base64, SmtpClient } from '../harness/smtp-client.ts';

let relay: Receiving;
before(async () => {
  relay = await Receiving.start();
});
after(() => relay[Symbol.asyncDispose]());

const plain = (username: string, password: string): string => `AUTH PLAIN ${base64(`\0${username}\0${password}`)}`;

/** A message whose header is judged; the replies before its end are the usual ones. */
const message = (content: string): string => `
  C: MAIL FROM:<app@example.test>
  S: 250 2.1.0
  C: RCPT TO:<ana@dest.test>
  S: 250 2.1.5
  C: DATA
  S: 354
  ${content
    .split('\n')
    .map((line) => `C: ${line}`)
    .join('\n')}
  C: .`;

const DIALOGUES: readonly (readonly [what: string, listener: string, dialogue: string])[] = [
  ['AUTH in clear', 'clear', `C: ${plain('app.default', PASSWORD)}\nS: 538 5.7.11`],
  ['AUTH LOGIN in clear', 'clear', 'C: AUTH LOGIN\nS: 538 5.7.11'],
  ['MAIL before STARTTLS', 'clear', 'C: MAIL FROM:<app@example.test>\nS: 530 5.7.0'],
  ['MAIL before AUTH', 'tls', 'C: MAIL FROM:<app@example.test>\nS: 530 5.7.0'],
  ['a wrong password', 'tls', `C: ${plain('app.default', 'wrong')}\nS: 535 5.7.8`],
  ['an unknown user', 'tls', `C: ${plain('nobody', PASSWORD)}\nS: 535 5.7.8`],
  [
    'a wrong password by LOGIN',
    'tls',
    `
    C: AUTH LOGIN
    S: 334 ${base64('Username:')}
    C: ${base64('app.default')}
    S: 334 ${base64('Password:')}
    C: ${base64('wrong')}
    S: 535 5.7.8`,
  ],
  ['a forged MAIL FROM', 'submission', 'C: MAIL FROM:<boss@evil.test>\nS: 550 5.7.1'],
  ['a forged MAIL FROM of an exempt network', 'local', 'C: MAIL FROM:<boss@evil.test>\nS: 550 5.7.1'],
  ['a forged From', 'submission', `${message('From: boss@evil.test\n\nx')}\nS: 550 5.7.1`],
  [
    'a forged From among others',
    'submission',
    `${message('From: app@example.test, boss@evil.test\n\nx')}\nS: 550 5.7.1`,
  ],
  ['a forged Sender', 'submission', `${message('From: app@example.test\nSender: boss@evil.test\n\nx')}\nS: 550 5.7.1`],
  ['a forged From of an exempt network', 'local', `${message('From: boss@evil.test\n\nx')}\nS: 550 5.7.1`],
  [
    'a forged Sender of an exempt network',
    'local',
    `${message('From: app@example.test\nSender: boss@evil.test\n\nx')}\nS: 550 5.7.1`,
  ],
  ['two From fields', 'submission', `${message('From: app@example.test\nFrom: app@example.test\n\nx')}\nS: 550 5.6.0`],
  ['no From field', 'submission', `${message('Subject: x\n\nx')}\nS: 550 5.6.0`],
  ['a space before the colon', 'submission', `${message('From : app@example.test\n\nx')}\nS: 550 5.6.0`],
  ['NUL in From', 'submission', `${message('From: app@example.test\0@evil.test\n\nx')}\nS: 550 5.6.0`],
  ['a comment in From', 'submission', `${message('From: app@example.test (boss@evil.test)\n\nx')}\nS: 550 5.6.0`],
  [
    'another address as name',
    'submission',
    `${message('From: "boss@evil.test" <app@example.test>\n\nx')}\nS: 550 5.6.0`,
  ],
  ['an unknown command', 'clear', 'C: NONSENSE\nS: 500 5.5.2'],
  ['WIZ', 'clear', 'C: WIZ x\nS: 500 5.5.2'],
  ['SHELL', 'clear', 'C: SHELL\nS: 500 5.5.2'],
  ['KILL', 'clear', 'C: KILL\nS: 500 5.5.2'],
  ['a command line over 2,048 bytes', 'tls', `C: NOOP ${'x'.repeat(2_048)}\nS: 500 5.5.2\nC: NOOP\nS: 250`],
  ['a command line of 200,000 bytes', 'tls', `C: NOOP ${'x'.repeat(200_000)}\nS: 500 5.5.2\nC: NOOP\nS: 250`],
  ['an AUTH line over 12,288 bytes', 'tls', `C: AUTH PLAIN ${'x'.repeat(12_288)}\nS: 500 5.5.6\nC: NOOP\nS: 250`],
  [
    'an AUTH line over 12,288 bytes after its challenge',
    'tls',
    `C: AUTH PLAIN\nS: 334\nC: ${'x'.repeat(12_288)}\nS: 500 5.5.6\nC: NOOP\nS: 250`,
  ],
  [
    'too many recipients',
    'submission',
    `
    C: MAIL FROM:<app@example.test>
    S: 250
    ${[1, 2, 3, 4, 5].map((n) => `C: RCPT TO:<${n}@dest.test>\nS: 250`).join('\n')}
    C: RCPT TO:<6@dest.test>
    S: 452 4.5.3`,
  ],
  ['SIZE over the limit', 'submission', 'C: MAIL FROM:<app@example.test> SIZE=100001\nS: 552 5.3.4'],
  [
    'a message over the limit',
    'submission',
    `${message(`From: app@example.test\n\n${'x'.repeat(100_000)}`)}\nS: 552 5.3.4\nC: NOOP\nS: 250`,
  ],
  [
    'a domain with a null MX',
    'submission',
    'C: MAIL FROM:<app@example.test>\nS: 250\nC: RCPT TO:<ana@null-mx.test>\nS: 556 5.1.10',
  ],
];

async function open(listener: string): Promise<SmtpClient> {
  if (listener !== 'clear' && listener !== 'tls') return await relay.session(listener);
  const client = await SmtpClient.connect(relay.port(listener === 'tls' ? 'submissions' : 'submission'), {
    implicitTls: listener === 'tls',
  });
  await client.talk(['EHLO client.test', '250-']);
  return client;
}

for (const [what, listener, dialogue] of DIALOGUES) {
  test(`${what} is answered ${dialogue.match(/(?<=S: )[45]\d\d \d\.\d+\.\d+/)?.[0]}`, async () => {
    await using client = await open(listener);
    await client.play(dialogue);
    assert.deepEqual(relay.accepted, [], 'nothing was taken');
  });
}

for (const [what, begin] of [
  ['before it says anything', []],
  ['between commands', [['EHLO client.test', '250-']]],
  [
    'in DATA',
    [
      ['EHLO x', '250-'],
      ['MAIL FROM:<a@example.test>', '250 '],
      ['RCPT TO:<b@dest.test>', '250 '],
      ['DATA', '354 '],
    ],
  ],
] as const) {
  test(`a client that falls silent ${what} is answered 421 4.4.2`, async () => {
    await using idle = await Receiving.start({
      ...CONFIG,
      settings: { ...CONFIG.settings, limits: { ...CONFIG.settings.limits, idleTimeoutMs: 1_000 } },
    });
    await using client = await SmtpClient.connect(idle.port('local'));
    await client.talk(...begin);
    assert.match(await client.reply(), /^421 4\.4\.2 (?!\d\.\d)/);
    assert.equal(await client.ended(), '');
    assert.deepEqual(idle.accepted, []);
  });
}

test('a client that falls silent in AUTH is answered 421 4.4.2', async () => {
  await using idle = await Receiving.start({
    ...CONFIG,
    settings: { ...CONFIG.settings, limits: { ...CONFIG.settings.limits, idleTimeoutMs: 1_000 } },
  });
  await using client = await SmtpClient.connect(idle.port('submissions'), { implicitTls: true });
  await client.play('C: EHLO x\nS: 250-\nC: AUTH LOGIN\nS: 334\nS: 421 4.4.2\nS: (end)');
});
