/**
 * No text of a client becomes a line of its own: not in the Received field, not in the notice that its sender gets, not
 * in the log. Each text is said wherever a client may say one; it is refused, or it comes out as harmless as it is long.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { at, Destination, type ReceivedMessage } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

let destination: Destination;
let relay: RelayProcess;
before(async () => {
  destination = await Destination.start({ react: at('rcpt', '550 5.1.1 No such user', '@refused.test') });
  relay = await RelayProcess.start(destination.port);
});
after(async () => {
  await relay[Symbol.asyncDispose]();
  await destination[Symbol.asyncDispose]();
});

/** What has ended a line somewhere: in the bytes, in an encoding that somebody undoes, or in a reader of Unicode. */
const TEXTS: readonly string[] = [
  ...['\r', '\n', '\n\r', '\0', '\v', '\f', '\x1c', '\x1e', '\x7f', '\x1b[2K', '\b'].map((end) => `x${end}Injected:y`),
  ...['\u0085', '\u2028', '\u2029', '\u200b', '\u202e', '\ufeff', '\ufffd', '\uff1a'].map((end) => `x${end}Injected:y`),
  ...['%0d%0a', '%0D%0A', '=0D=0A', '+0D+0A', '\\r\\n', '\\0', '&#13;&#10;', '=?utf-8?q?=0D=0A?='].map(
    (end) => `x${end}Injected:y`,
  ),
  // U+560D and U+560A: a reader that drops the high byte finds CR LF.
  'x\u560d\u560aInjected:y',
  'x\u010d\u010aInjected:y',
  ...['x)Injected:y', 'x;Injected:y', 'x(Injected:y', 'x"Injected:y', 'x\\', 'x>Injected:y', 'x,Injected:y', '"{x}:y'],
  'x'.repeat(64),
  'x'.repeat(65),
  'x'.repeat(255),
  'x'.repeat(2_000),
  'ж'.repeat(32),
];

/** In the bytes themselves, where no text could have it. */
const BYTES: readonly Buffer[] = [
  Buffer.from('x\x85Injected:y', 'latin1'),
  Buffer.from('x\xc0\x8dInjected:y', 'latin1'),
  Buffer.from('x\xe0\x80\x8aInjected:y', 'latin1'),
  Buffer.from('x\xff\xfeInjected:y', 'latin1'),
  Buffer.from('x\xed\xa0\x8d', 'latin1'),
];

const quoted = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;

/** Where a client says the text; `%` stands for it. The others are as they always are. */
const PLACES: readonly { readonly [Line in 'hello' | 'mail' | 'rcpt']?: string }[] = [
  { hello: 'EHLO %' },
  { hello: 'HELO %' },
  { mail: 'MAIL FROM:<%@example.test>' },
  { mail: 'MAIL FROM:<%@example.test> SMTPUTF8' },
  { mail: 'MAIL FROM:<@%:app@example.test>' },
  { mail: 'MAIL FROM:<app@example.test> AUTH=%' },
  { rcpt: 'RCPT TO:<%@refused.test>' },
  { mail: 'MAIL FROM:<app@example.test> SMTPUTF8', rcpt: 'RCPT TO:<%@refused.test>' },
  { rcpt: 'RCPT TO:<ana@%>' },
];

/** Bytes of a line with the text in it. */
function line(form: string, text: string | Buffer): Buffer {
  const [start = '', end = ''] = form.split('%');
  // A local part takes most texts in quotes only.
  const inserted = typeof text === 'string' ? (/<%@/.test(form) ? quoted(text) : text) : text;
  return Buffer.concat([Buffer.from(start), Buffer.from(inserted), Buffer.from(`${end}\r\n`)]);
}

/** Whether the message was taken. A text that is a line end of the protocol makes several lines, none of which harms. */
async function attempt(place: (typeof PLACES)[number], text: string | Buffer, subject: string): Promise<boolean> {
  await using client = await SmtpClient.connect(relay.port);
  const {
    hello = 'EHLO client.test',
    mail = 'MAIL FROM:<app@example.test>',
    rcpt = 'RCPT TO:<ana@refused.test>',
  } = place;
  for (const form of [hello, mail, rcpt, 'DATA']) {
    client.send(form.includes('%') ? line(form, text) : `${form}\r\n`);
    const reply = await client.reply();
    if (!/^[23]/.test(reply)) {
      assert.match(reply, /^5\d\d /, `${form}: ${reply}`);
      return false;
    }
  }
  assert.match(await client.content(`From: app@example.test\r\nSubject: ${subject}\r\n\r\nHello\r\n`), /^250 /);
  return true;
}

const headerOf = ({ data }: Pick<ReceivedMessage, 'data'>): string =>
  data.subarray(0, data.indexOf('\r\n\r\n') + 2).toString('latin1');
/** Names of the fields, and what is no field as it is. */
const fieldsOf = (block: string): readonly string[] =>
  block
    .split('\r\n')
    .filter((text) => text !== '' && !/^[ \t]/.test(text))
    .map((text) => /^([!-9;-~]+):/.exec(text)?.[1] ?? text);

const NOTICE_FIELDS = [
  ...['DKIM-Signature', 'DKIM-Signature', 'From', 'To', 'Subject', 'Date', 'Message-ID'],
  ...['In-Reply-To', 'References', 'Auto-Submitted', 'MIME-Version', 'Content-Type'],
];
const STATUS_FIELDS = [
  ...['Reporting-MTA', 'X-Chasqui-Queue-Id', 'Arrival-Date', 'Final-Recipient', 'Action', 'Status'],
  ...['Remote-MTA', 'Diagnostic-Code', 'Last-Attempt-Date'],
];

function checkNotice(notice: ReceivedMessage): void {
  const header = headerOf(notice);
  assert.deepEqual(fieldsOf(header), NOTICE_FIELDS);
  const boundary = /boundary="([^"]+)"/.exec(header)?.[1] ?? '';
  const body = notice.data.subarray(header.length + 2).toString('latin1');
  const [, text = '', status = '', headers = '', end] = body.split(new RegExp(`(?:^|\r\n)--${boundary}(?:--)?\r\n`));
  assert.equal(end, '', 'three parts');
  assert.doesNotMatch(text, /^Injected/m);
  const [partHeader = '', ...groups] = status.split('\r\n\r\n');
  assert.deepEqual(fieldsOf(partHeader), ['Content-Type', 'Content-Transfer-Encoding']);
  assert.deepEqual(fieldsOf(groups.join('\r\n')), STATUS_FIELDS);
  assert.doesNotMatch(headers, /^Injected/m);
  for (const wire of notice.data.toString('latin1').split('\r\n')) {
    assert.ok(wire.length <= 998, 'RFC 5322 2.1.1');
    assert.doesNotMatch(wire, /[\r\n\0\v\f]/);
  }
}

test('texts of a client end no line, wherever it says them', async () => {
  let taken = 0;
  for (const [at, place] of PLACES.entries()) {
    for (const [index, text] of [...TEXTS, ...BYTES].entries()) {
      if (await attempt(place, text, `place ${at} text ${index}`)) taken += 1;
    }
  }
  // Enough come through for the rest of this test to say something.
  assert.ok(taken > 100, `${taken} were taken`);
  await relay.logged('all are bounced', ({ event }) => event === 'bounced', taken);
  await relay.untilEmpty();
  assert.equal(destination.messages.length, taken, 'a notice for each');
  for (const notice of destination.messages) checkNotice(notice);
  for (const entry of relay.lines()) assert.ok(entry.message !== undefined || entry.event !== undefined);
});

test('the field that tells where a message came from is one field of ASCII, whatever the client is called', async () => {
  destination.react = () => undefined;
  const before = destination.messages.length;
  let taken = 0;
  for (const place of PLACES.filter(({ hello }) => hello)) {
    for (const [index, text] of TEXTS.entries()) if (await attempt(place, text, `received ${index}`)) taken += 1;
  }
  assert.ok(taken > 20);
  await destination.until(() => destination.messages.length === before + taken);
  for (const message of destination.messages.slice(before)) {
    const header = headerOf(message);
    assert.deepEqual(fieldsOf(header).toSorted(), [
      'DKIM-Signature',
      'DKIM-Signature',
      'Date',
      'From',
      'Message-ID',
      'Received',
      'Subject',
    ]);
    const received =
      /^Received: from [\w.:?[\]-]{1,255} \(\[127\.0\.0\.1\]\)\r\n\tby relay\.example\.test \(Chasqui\) with E?SMTP id [0-9A-Z.-]+;\r\n\t[ -~]+\r\n(?!\s)/im;
    assert.match(header, received);
  }
});
