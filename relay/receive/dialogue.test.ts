/** Each command in each state it may come in, as clients hear it. C: is what the client says, S: how the reply starts. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PASSWORD, Receiving } from '../../test/harness/receiving.ts';
import { base64, SmtpClient } from '../../test/harness/smtp-client.ts';

let relay: Receiving;
before(async () => {
  relay = await Receiving.start();
});
after(() => relay[Symbol.asyncDispose]());

/** How a session has come to where a dialogue begins. */
const BEGINNINGS = {
  /** Connected to `submission`, nothing said. */
  connected: () => SmtpClient.connect(relay.port('submission')),
  /** On `submissions`, EHLO said, not authenticated. */
  'under TLS': async () => {
    const client = await SmtpClient.connect(relay.port('submissions'), { implicitTls: true });
    await client.talk(['EHLO client.test', '250-']);
    return client;
  },
  /** On `submission`, STARTTLS and AUTH done. */
  authenticated: () => relay.session('submission'),
  /** On `local`, whose network needs no AUTH; EHLO said. */
  exempt: () => relay.session('local'),
  /** On `local`, after STARTTLS. */
  'exempt, under TLS': async () => {
    const client = await SmtpClient.connect(relay.port('local'));
    await client.startTls();
    return client;
  },
} as const;

const LOGIN = `AUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}`;
const GUESS = `AUTH PLAIN ${base64('\0app.default\0wrong')}`;
const BEGUN = `
  C: MAIL FROM:<app@example.test>
  S: 250 2.1.0
  C: RCPT TO:<ana@dest.test>
  S: 250 2.1.5`;
const times = (count: number, dialogue: string): string => dialogue.repeat(count);

const DIALOGUES: readonly (readonly [what: string, beginning: keyof typeof BEGINNINGS, dialogue: string])[] = [
  [
    'commands that need no state',
    'connected',
    `
    C: NOOP
    S: 250 2.0.0
    C: noop and more words
    S: 250 2.0.0
    C: RSET
    S: 250 2.0.0
    C: VRFY ana
    S: 252 2.0.0
    C: HELP
    S: 214 2.0.0
    C: QUIT
    S: 221 2.0.0
    S: (end)`,
  ],
  [
    'commands that are known and not done',
    'connected',
    `
    C: EXPN staff
    S: 502 5.5.1
    C: SEND FROM:<a@b.test>
    S: 502 5.5.1
    C: SOML FROM:<a@b.test>
    S: 502 5.5.1
    C: SAML FROM:<a@b.test>
    S: 502 5.5.1
    C: TURN
    S: 502 5.5.1`,
  ],
  [
    'commands that are none',
    'connected',
    `
    C: NONSENSE
    S: 500 5.5.2
    C: WIZ
    S: 500 5.5.2
    C: DEBUG
    S: 500 5.5.2
    C: SHELL
    S: 500 5.5.2
    C: BDAT 3 LAST
    S: 500 5.5.2
    C: XCLIENT ADDR=192.0.2.1
    S: 500 5.5.2
    C: __proto__
    S: 500 5.5.2`,
  ],
  [
    'lines that are no commands',
    'connected',
    `
    C:
    S: 500 5.5.2
    C:  NOOP
    S: 500 5.5.2
    C: NOOP\tx
    S: 500 5.5.2
    C: NOOP\0
    S: 500 5.5.2`,
  ],
  [
    'the hello of a client',
    'connected',
    `
    C: EHLO
    S: 501 give
    C: HELO
    S: 501 give
    C: EHLO two words
    S: 501 give
    C: EHLO ${'x'.repeat(256)}
    S: 501 give
    C: HELO client.test
    S: 250 relay.example.test
    C: EHLO [IPv6:::1]
    S: 250-relay.example.test
    C: ehlo client.test
    S: 250-relay.example.test`,
  ],
  [
    'mail that comes too soon',
    'connected',
    `
    C: MAIL FROM:<app@example.test>
    S: 530 5.7.0
    C: EHLO client.test
    S: 250-
    C: MAIL FROM:<app@example.test>
    S: 530 5.7.0
    C: RCPT TO:<ana@dest.test>
    S: 503 5.5.1
    C: DATA
    S: 503 5.5.1
    C: ${LOGIN}
    S: 538 5.7.11
    C: AUTH LOGIN
    S: 538 5.7.11
    C: STARTTLS now
    S: 501 5.5.4`,
  ],
  [
    'mail under TLS before AUTH',
    'under TLS',
    `
    C: STARTTLS
    S: 503 5.5.1
    C: MAIL FROM:<app@example.test>
    S: 530 5.7.0
    C: RCPT TO:<ana@dest.test>
    S: 503 5.5.1`,
  ],
  [
    'AUTH, with and without an initial response',
    'under TLS',
    `
    C: AUTH
    S: 504 5.5.4
    C: AUTH CRAM-MD5
    S: 504 5.5.4
    C: AUTH PLAIN x y
    S: 501 5.5.4
    C: AUTH PLAIN =
    S: 501 5.5.2
    C: AUTH PLAIN not-base64
    S: 501 5.5.2
    C: AUTH PLAIN
    S: 334
    C: *
    S: 501 5.7.0
    C: AUTH LOGIN
    S: 334 VXNlcm5hbWU6
    C: ${base64('app.default')}
    S: 334 UGFzc3dvcmQ6
    C: *
    S: 501 5.7.0
    C: NOOP
    S: 250 2.0.0
    C: AUTH LOGIN
    S: 334 VXNlcm5hbWU6
    C: QUIT
    S: 334 UGFzc3dvcmQ6
    C: *
    S: 501 5.7.0
    C: auth login ${base64('app.default')}
    S: 334 UGFzc3dvcmQ6
    C: ${base64(PASSWORD)}
    S: 235 2.7.0
    C: ${LOGIN}
    S: 503 5.5.1`,
  ],
  [
    'AUTH for another identity',
    'under TLS',
    `
    C: AUTH PLAIN ${base64(`boss\0app.default\0${PASSWORD}`)}
    S: 535 5.7.8
    C: AUTH PLAIN ${base64(`app.default\0app.default\0${PASSWORD}`)}
    S: 235 2.7.0`,
  ],
  [
    'a client that guesses passwords',
    'under TLS',
    `
    ${times(4, `C: ${GUESS}\nS: 535 5.7.8\n`)}
    C: ${GUESS}
    S: 421 4.7.0
    S: (end)`,
  ],
  [
    'a message that has begun',
    'authenticated',
    `${BEGUN}
    C: MAIL FROM:<app@example.test>
    S: 503 5.5.1
    C: RCPT TO:<bob@dest.test>
    S: 250 2.1.5
    C: DATA now
    S: 501 5.5.4
    C: RSET
    S: 250 2.0.0
    C: RCPT TO:<ana@dest.test>
    S: 503 5.5.1
    C: DATA
    S: 503 5.5.1`,
  ],
  [
    'EHLO ends a message that has begun, as RSET does',
    'authenticated',
    `${BEGUN}
    C: EHLO client.test
    S: 250-
    C: DATA
    S: 503 5.5.1`,
  ],
  [
    'AUTH within a message',
    'exempt, under TLS',
    `${BEGUN}
    C: ${LOGIN}
    S: 503 5.5.1
    C: RSET
    S: 250 2.0.0
    C: ${LOGIN}
    S: 235 2.7.0`,
  ],
  [
    'a message without recipients',
    'authenticated',
    `
    C: MAIL FROM:<app@example.test>
    S: 250 2.1.0
    C: DATA
    S: 503 5.5.1
    C: RCPT TO:<nobody>
    S: 553 5.1.3
    C: DATA
    S: 503 5.5.1`,
  ],
  [
    'a client that says nonsense over and over',
    'authenticated',
    `
    ${times(10, 'C: NONSENSE\nS: 500 5.5.2\n')}
    C: NONSENSE
    S: 421 4.7.0
    S: (end)`,
  ],
  ...['GET / HTTP/1.1', 'POST / HTTP/1.1', 'CONNECT x:25 HTTP/1.1', 'OPTIONS * HTTP/1.0'].map(
    (line) => [`a browser that says ${line}`, 'connected', `\nC: ${line}\nS: 421 4.7.0\nS: (end)`] as const,
  ),
];

for (const [what, beginning, dialogue] of DIALOGUES) {
  test(`${what} (${beginning})`, async () => {
    const before = relay.accepted.length;
    await using client = await BEGINNINGS[beginning]();
    await client.play(dialogue);
    assert.equal(relay.accepted.length, before, 'nothing was taken');
  });
}

test('a replica that is not wanted greets with 421, and ends open sessions at their next command', async () => {
  await using drained = await Receiving.start();
  await using open = await drained.session();
  drained.change({ replicas: 0 });
  await using late = await SmtpClient.connect(drained.port('submission'));
  assert.equal(late.greeting, '421 4.3.2 this replica is being drained, connect again');
  assert.equal(await late.ended(), '');
  assert.match(await open.say('MAIL FROM:<app@example.test>'), /^421 4\.3\.2 /);
  assert.equal(await open.ended(), '');
});

test('each refusal is told to the observer, with its stage and reason', async () => {
  await using observed = await Receiving.start();
  await using client = await observed.session('local');
  await client.play('C: NONSENSE\nS: 500\nC: MAIL FROM:<a@evil.test>\nS: 550\nC: AUTH PLAIN\nS: 538\nC: DATA\nS: 503');
  await client.play('C: MAIL FROM:<a@example.test>\nS: 250\nC: RCPT TO:<a@null-mx.test>\nS: 556');
  assert.deepEqual(observed.rejections(), [
    'command unknown_command 500 5.5.2',
    'mail sender_not_allowed 550 5.7.1',
    'auth auth_in_clear 538 5.7.11',
    'data bad_sequence 503 5.5.1',
    'rcpt null_mx 556 5.1.10',
  ]);
  const last = observed.sessionEvents.at(-1);
  assert.ok(last?.event === 'rejected');
  assert.deepEqual(
    [last.mailFrom, last.recipient, last.client, last.listener],
    ['a@example.test', 'a@null-mx.test', '127.0.0.1', 'local'],
  );
});
