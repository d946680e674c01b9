/**
 * Sessions of clients that are out of their minds: any bytes in any pieces, and dialogues that went wrong somewhere. The
 * relay answers each line once, ends every session, goes on with the next one, and takes only what the oracle takes.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { CONFIG, PASSWORD, Receiving } from '../harness/receiving.ts';
import { base64 } from '../harness/smtp-client.ts';
import { converse } from './converse.ts';
import { parameters, RUNS } from './runs.ts';
import { type Judge, judge } from './session-oracle.ts';

const TO_SEND_AS = ['example.test', 'signed.test', 'keyless.test'];
const JUDGES: Readonly<Record<'local' | 'submission' | 'submissions', Judge>> = {
  local: { exempt: true, secure: false, domains: TO_SEND_AS, username: '', password: '' },
  submission: { exempt: false, secure: false, domains: [], username: '', password: '' },
  submissions: {
    exempt: false,
    secure: true,
    domains: [...TO_SEND_AS, 'other.test', 'xn--mller-kva.test', 'müller.test'],
    username: 'app.default',
    password: PASSWORD,
  },
};
type Listener = keyof typeof JUDGES;

let relay: Receiving;
before(async () => {
  const { settings } = CONFIG;
  relay = await Receiving.start({
    ...CONFIG,
    settings: { ...settings, limits: { ...settings.limits, messageSizeBytes: 2_000 } },
  });
  relay.nowMs = Date.now();
});
after(() => relay[Symbol.asyncDispose]());

/** Wherever a session is, this ends it: a message, an exchange of AUTH, or a line, and then the session. */
const TAIL = '\r\n.\r\nQUIT\r\n';

function* cut(bytes: Buffer, at: readonly number[]): Generator<Buffer> {
  let from = 0;
  for (const end of [...new Set(at.map((n) => n % (bytes.length + 1))), bytes.length].sort((a, b) => a - b)) {
    if (end > from) yield bytes.subarray(from, end);
    from = end;
  }
}

const taken = { messages: 0, sessions: 0, authenticated: 0 };

/** One session, judged. */
async function session(listener: Listener, sent: string, cuts: readonly number[]): Promise<void> {
  // Guesses of one run are no business of the next.
  relay.nowMs = (relay.nowMs ?? 0) + 3_600_000;
  const before = relay.accepted.length;
  const all = `${sent}${TAIL}`;
  const said = await converse(relay.port(listener), listener === 'submissions', [
    ...cut(Buffer.from(all, 'latin1'), cuts),
  ]);
  const granted = judge(JUDGES[listener], all, said);
  assert.equal(relay.accepted.length - before, granted.length, 'as many are in the queue as were answered 250');
  granted.forEach(({ from, recipients, body }, index) => {
    const accepted = relay.accepted[before + index];
    const [delivery] = accepted?.deliveries ?? [];
    const utf8 = (text: string) => Buffer.from(text, 'latin1').toString();
    assert.equal(delivery?.envelope.mailFrom.toLowerCase(), normal(from));
    const reached = accepted?.deliveries.flatMap((one) => one.recipients.map(({ address }) => address.toLowerCase()));
    assert.deepEqual(new Set(reached), new Set(recipients.map(normal)));
    const content = relay.content(before + index);
    assert.ok(whole(utf8(content)).endsWith(whole(utf8(body))), 'the body is as it was sent');
    assert.ok(
      content.split('\r\n').every((line) => line.length <= LONGEST_LINE),
      'no line is too long for SMTP',
    );
  });
  taken.sessions += 1;
  taken.messages += granted.length;
  taken.authenticated += /^235 /m.test(said) ? 1 : 0;
}

/** Octets without CRLF (RFC 5321 4.5.3.1.6). */
const LONGEST_LINE = 998;

/** Without the places where a line that is too long may have been broken. */
const whole = (text: string): string => text.replaceAll('\r\n ', '');

const normal = (address: string): string => address.toLowerCase().replace('müller.test', 'xn--mller-kva.test');

const cuts = fc.oneof(
  fc.constant([]),
  fc.array(fc.nat(4_000), { maxLength: 30 }),
  fc.constant(Array.from({ length: 4_000 }, (_, at) => at)),
);
const listener = fc.constantFrom<Listener>('local', 'local', 'submission', 'submissions', 'submissions');
const anyBytes = fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes).toString('latin1'));

/** Bytes that parsers have stumbled over. */
const piece = fc.oneof(
  fc.constantFrom(
    '\r',
    '\n',
    '\r\n',
    '\0',
    '.',
    '\r\n.\r\n',
    '\n.\n',
    '\r.\r',
    '<',
    '>',
    '"',
    '\\',
    '@',
    ':',
    ' ',
    '\t',
  ),
  fc.constantFrom(
    '%0d%0a',
    '=',
    ',',
    '(',
    '[',
    ']',
    '\x1a',
    '\x80',
    '\xff',
    '\xc3',
    '\xc3\xbc',
    'DATA',
    'From: b@evil.test',
  ),
  fc.string({ maxLength: 4 }),
  fc.nat(3_000).map((length) => 'x'.repeat(length)),
);

const utf8 = (text: string): string => Buffer.from(text).toString('latin1');
const line = fc.constantFrom(
  ...['EHLO client.test', 'HELO c', 'NOOP', 'RSET', 'VRFY x', 'HELP', 'QUIT', 'STARTTLS', 'XYZZY', 'BDAT 3 LAST', ''],
  ...[
    'MAIL FROM:<app@example.test>',
    'mail from: <app@SIGNED.test> SIZE=100',
    'MAIL FROM:<>',
    'MAIL FROM:<a@evil.test>',
  ],
  ...[
    'MAIL FROM:<app@example.test> BODY=8BITMIME SMTPUTF8',
    'MAIL FROM:<"a b"@example.test>',
    'MAIL FROM:<only@other.test>',
  ],
  ...[
    'MAIL FROM:<@a.test:app@example.test> AUTH=<>',
    utf8('MAIL FROM:<a@müller.test> SMTPUTF8'),
    'MAIL FROM:<a@keyless.test>',
  ],
  ...['RCPT TO:<ana@dest.test>', 'RCPT TO:<Bob@routed.test>', 'rcpt to: <"a@b"@dest.test>', 'RCPT TO:<c@[192.0.2.1]>'],
  ...[
    utf8('RCPT TO:<жанна@dest.test>'),
    'RCPT TO:<nobody>',
    'RCPT TO:<x@null-mx.test>',
    'RCPT TO:<@r.test:d@dest.test>',
  ],
  ...[
    'DATA',
    'DATA x',
    'From: app@example.test',
    'AUTH PLAIN',
    'AUTH LOGIN',
    '*',
    base64('app.default'),
    base64(PASSWORD),
  ],
  `AUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}`,
  `AUTH PLAIN ${base64('\0app.default\0wrong')}`,
  `AUTH LOGIN ${base64('app.default')}`,
);

const headerLine = fc.constantFrom(
  ...['From: app@example.test', 'From: "App" <app@signed.test>', 'from: b@evil.test', 'From : app@example.test'],
  ...[
    'Sender: app@example.test',
    'Sender: b@evil.test',
    'Subject: x',
    ' folded',
    'Bcc: x@y.test',
    'no field',
    '.dot: x',
  ],
);
const bodyLine = fc.constantFrom(
  'Hello',
  '',
  '.',
  '..',
  '.x',
  '...',
  '\n.',
  '\r.',
  '.\r',
  utf8('Grüße'),
  'x'.repeat(1_000),
);
const lineEnd = fc.oneof({ weight: 30, arbitrary: fc.constant('\r\n') }, fc.constantFrom('\n', '\r', '', '\r\r\n'));

/** A message as a client sends it, or nearly so. */
const transaction = fc
  .tuple(
    fc.oneof({ weight: 4, arbitrary: fc.constant('MAIL FROM:<app@example.test>') }, line),
    fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant('RCPT TO:<ana@dest.test>') }, line), {
      minLength: 1,
      maxLength: 6,
    }),
    fc.oneof({ weight: 4, arbitrary: fc.constant('From: app@example.test') }, headerLine),
    fc.array(headerLine, { maxLength: 2 }),
    fc.array(bodyLine, { maxLength: 6 }),
    lineEnd,
  )
  .map(([mail, rcpts, from, header, body, end]) =>
    [mail, ...rcpts, 'DATA', from, ...header, '', ...body]
      .map((text) => `${text}\r\n`)
      .join('')
      .concat(`.${end}`),
  );
const LOGIN = `EHLO c\r\nAUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}\r\n`;
const dialogue = fc
  .tuple(
    fc.oneof(
      { weight: 3, arbitrary: fc.constant('EHLO client.test\r\n') },
      { weight: 3, arbitrary: fc.constant(LOGIN) },
      fc.constant(''),
    ),
    fc.array(
      fc.oneof(
        transaction,
        fc.tuple(line, lineEnd).map((parts) => parts.join('')),
      ),
      { maxLength: 12 },
    ),
  )
  .map(([begin, parts]) => begin + parts.join(''));

/** Some bytes are another's, are missing, or stand twice. */
const mutation = fc.tuple(fc.nat(5_000), fc.constantFrom('insert', 'replace', 'delete', 'repeat'), fc.nat(20), piece);
const mutated = fc.tuple(dialogue, fc.array(mutation, { maxLength: 3 })).map(([text, mutations]) =>
  mutations.reduce((before, [where, how, length, inserted]) => {
    const at = where % (before.length + 1);
    const gone = how === 'replace' || how === 'delete' ? length : 0;
    const there = how === 'repeat' ? before.slice(at, at + 5 * length).repeat(2) : how === 'delete' ? '' : inserted;
    return before.slice(0, at) + there + before.slice(at + gone);
  }, text),
);

test('any bytes, in any pieces', async () => {
  await fc.assert(fc.asyncProperty(listener, anyBytes, cuts, session), parameters());
});

test('dialogues, as they should be and with mistakes, in any pieces', async () => {
  taken.messages = 0;
  await fc.assert(fc.asyncProperty(listener, mutated, cuts, session), parameters(2));
  // Else the oracle would have had nothing to judge.
  assert.ok(taken.messages > RUNS / 4, `only ${taken.messages} messages were taken`);
  assert.ok(taken.authenticated > RUNS / 10, `only ${taken.authenticated} sessions authenticated`);
  assert.deepEqual(
    relay.log.filter((entry) => entry.startsWith('error')),
    [],
  );
});
