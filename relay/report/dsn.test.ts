import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { BodyHash } from '../sign/body-hash.ts';
import type { Envelope, Recipient } from '../spool/envelope.ts';
import { buildDsn, type DsnInput } from './dsn.ts';

const ENVELOPE: Envelope = {
  version: 1,
  mailFrom: 'ana@example.test',
  smtputf8: false,
  bodyType: '7BIT',
  arrivedMs: Date.UTC(2026, 10, 24),
  sizeBytes: 10,
  messageId: '<1@example.test>',
  bodyHash: '',
  headerBytes: 10,
};
const REFUSED: Recipient = {
  address: 'bo@example.org',
  state: 'bounced',
  lastReply: { code: 550, enhanced: '5.1.1', text: 'no such user', host: 'mx.example.org' },
};
const EXPIRED: Recipient = {
  address: 'cy@example.org',
  state: 'expired',
  lastReply: { code: 451, enhanced: '4.4.1', text: 'cannot connect to mx.example.org: refused' },
};
const CONTENT = Buffer.from('From: ana@example.test\r\nSubject: The order\r\n\r\nSeven apples.\r\n');
const HEADERS = CONTENT.subarray(0, CONTENT.indexOf('Seven'));

const input = (changes: Partial<DsnInput> = {}, envelope: Partial<Envelope> = {}): DsnInput => ({
  id: '0b1e5a52-6c3f-4a57-9a37-0f6c4a1f7c11',
  queueId: 'Q7',
  envelope: { ...ENVELOPE, ...envelope },
  recipients: [REFUSED],
  headers: HEADERS,
  hostname: 'relay.example.test',
  fromDomain: 'example.test',
  signAs: 'example.test',
  destination: 'example.test',
  nowMs: Date.UTC(2026, 10, 25),
  ...changes,
});

function built(changes: Partial<DsnInput> = {}, envelope: Partial<Envelope> = {}) {
  const message = buildDsn(input(changes, envelope));
  assert.ok(message);
  return message;
}

const Fields = Type.Array(Type.Tuple([Type.String(), Type.String()]));
const Parsed = Schema.Compile(
  Type.Object({
    fields: Fields,
    reportType: Type.String(),
    defects: Type.Array(Type.String()),
    parts: Type.Array(Type.Object({ type: Type.String(), encoding: Type.String(), text: Type.String() })),
    status: Type.Array(Fields),
  }),
);

/** As Python's email package reads it. */
function parsed(content: Buffer) {
  const script = `
import email, email.policy, json, quopri, sys
raw = sys.stdin.buffer.read()
message = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
def fields(part):
    return [[name, ' '.join(value.split())] for name, value in part.items()]
def bare(text):
    head, body = text.split(b'\\r\\n\\r\\n', 1)
    return quopri.decodestring(body) if b'quoted-printable' in head else body
pieces = raw.split(b'\\r\\n--' + message.get_boundary().encode())
assert pieces[0].endswith(b'"' + message.get_boundary().encode() + b'"\\r\\n') and pieces[-1] == b'--\\r\\n', pieces
texts = [bare(piece) for piece in pieces[1:-1]]
status = email.message_from_bytes(b'Content-Type: message/delivery-status\\r\\n\\r\\n' + texts[1], policy=email.policy.SMTPUTF8)
json.dump({
  'fields': fields(message),
  'reportType': message['Content-Type'].params['report-type'],
  'defects': [repr(defect) for part in message.walk() for defect in part.defects],
  'parts': [{'type': part.get_content_type(), 'encoding': part['Content-Transfer-Encoding'], 'text': text.decode('utf-8', 'replace')}
            for part, text in zip(message.get_payload(), texts, strict=True)],
  'status': [fields(block) for block in status.get_payload()],
}, sys.stdout)`;
  const answer: unknown = JSON.parse(
    execFileSync('python3', ['-c', script], { input: content, maxBuffer: 2 ** 25 }).toString(),
  );
  assert.ok(Parsed.Check(answer), JSON.stringify(answer));
  assert.deepEqual(answer.defects, []);
  const [people, programs, original] = answer.parts;
  assert.ok(people && programs && original && answer.parts.length === 3, 'three parts');
  return { ...answer, people, programs, original };
}

const read = (changes: Partial<DsnInput> = {}, envelope: Partial<Envelope> = {}) =>
  parsed(built(changes, envelope).content);
const valuesOf = (fields: readonly (readonly [string, string])[] | undefined): Record<string, string> =>
  Object.fromEntries(fields ?? []);

describe('a notice of failure', () => {
  test('is a report of three parts from the mailer-daemon to the sender, which nobody answers', () => {
    const { fields, reportType, people, programs, original } = read();
    assert.equal(reportType, 'delivery-status');
    assert.deepEqual(
      [people.type, programs.type, original.type],
      ['text/plain', 'message/delivery-status', 'text/rfc822-headers'],
    );
    const { 'Content-Type': _, ...header } = valuesOf(fields);
    assert.deepEqual(header, {
      From: 'Mail Delivery System <mailer-daemon@example.test>',
      To: 'ana@example.test',
      Subject: 'Undelivered mail returned to sender',
      Date: 'Wed, 25 Nov 2026 00:00:00 +0000',
      'Message-ID': '<0b1e5a52-6c3f-4a57-9a37-0f6c4a1f7c11@relay.example.test>',
      'In-Reply-To': '<1@example.test>',
      References: '<1@example.test>',
      'Auto-Submitted': 'auto-replied',
      'MIME-Version': '1.0',
    });
  });

  test('goes to the sender alone, from nobody, so that it cannot bounce', () => {
    const { envelope, deliveries } = built();
    assert.equal(envelope.mailFrom, '');
    assert.deepEqual(deliveries, [
      {
        destination: 'example.test',
        recipients: [{ address: 'ana@example.test', state: 'queued', notify: ['NEVER'] }],
      },
    ]);
  });

  test('is signed as the domain it is told, or not at all, and its envelope tells its bytes', () => {
    const { envelope, content } = built();
    assert.equal(envelope.signAs, 'example.test');
    const { signAs: _, ...unsigned } = input();
    assert.equal(buildDsn(unsigned)?.envelope.signAs, undefined);
    assert.equal(envelope.sizeBytes, content.length);
    assert.equal(envelope.headerBytes, content.indexOf('\r\n\r\n') + 4);
    const hash = new BodyHash();
    hash.update(content.subarray(envelope.headerBytes));
    assert.equal(envelope.bodyHash, hash.digest());
    assert.equal(envelope.arrivedMs, Date.UTC(2026, 10, 25));
  });

  test('tells people what happened, that it is over, and what they can do', () => {
    const { people } = read({ recipients: [REFUSED, EXPIRED] });
    assert.equal(
      people.text,
      `This is the mail relay relay.example.test.

Your message could not be delivered to the 2 recipients below. It will
not be tried again.

<bo@example.org>
  mx.example.org refused it:
    550 5.1.1 no such user

<cy@example.org>
  It could not be delivered in the time allowed; the last answer was:
    451 4.4.1 cannot connect to mx.example.org: refused

What you can do:
- Look for mistakes in the address, and send the message again to the right one.
- If the address is right, the answer below it says what stood in the way. The
  postmaster of the server that gave it can tell you more.
- To ask about this relay, name the queue id Q7.

The message arrived here on Tue, 24 Nov 2026 00:00:00 +0000.
`.replaceAll('\n', '\r\n'),
    );
  });

  test('tells programs of the message, and of each recipient by itself', () => {
    const { status } = read({ recipients: [REFUSED, EXPIRED] }, { envid: 'order 7' });
    assert.deepEqual(status.map(valuesOf), [
      {
        'Reporting-MTA': 'dns; relay.example.test',
        'Original-Envelope-Id': 'order 7',
        'X-Chasqui-Queue-Id': 'Q7',
        'Arrival-Date': 'Tue, 24 Nov 2026 00:00:00 +0000',
      },
      {
        'Final-Recipient': 'rfc822; bo@example.org',
        Action: 'failed',
        Status: '5.1.1',
        'Remote-MTA': 'dns; mx.example.org',
        'Diagnostic-Code': 'smtp; 550 5.1.1 no such user',
        'Last-Attempt-Date': 'Wed, 25 Nov 2026 00:00:00 +0000',
      },
      {
        'Final-Recipient': 'rfc822; cy@example.org',
        Action: 'failed',
        Status: '4.4.1',
        'Diagnostic-Code': 'x-chasqui; 451 4.4.1 cannot connect to mx.example.org: refused',
        'Last-Attempt-Date': 'Wed, 25 Nov 2026 00:00:00 +0000',
      },
    ]);
  });
});

describe('nobody is told', () => {
  test('of mail from the null sender', () => {
    assert.equal(buildDsn(input({}, { mailFrom: '' })), undefined);
  });

  test('of recipients with NOTIFY=NEVER or without FAILURE; of the others the sender is', () => {
    const never: Recipient = { ...REFUSED, address: 'never@example.org', notify: ['NEVER'] };
    const success: Recipient = { ...REFUSED, address: 'success@example.org', notify: ['SUCCESS', 'DELAY'] };
    const failure: Recipient = { ...REFUSED, address: 'failure@example.org', notify: ['DELAY', 'FAILURE'] };
    assert.equal(buildDsn(input({ recipients: [never, success] })), undefined);
    const text = built({ recipients: [never, success, failure] }).content.toString();
    assert.doesNotMatch(text, /never@|success@/);
    assert.match(text, /failure@/);
  });
});

describe('the status of a recipient', () => {
  const CASES: readonly (readonly [string, Recipient['state'], Recipient['lastReply'], string])[] = [
    ['that was refused without an enhanced code', 'bounced', { code: 550, text: 'no' }, '5.0.0'],
    ['whose refusal has the code of another class', 'bounced', { code: 550, enhanced: '4.2.1', text: 'no' }, '5.0.0'],
    ['that expired after an answer without a code', 'expired', { code: 451, text: 'later' }, '4.4.7'],
    ['that expired without any answer', 'expired', undefined, '4.4.7'],
  ];
  for (const [who, state, lastReply, expected] of CASES) {
    test(`${who} is ${expected}`, () => {
      const recipient: Recipient = { address: 'bo@example.org', state, ...(lastReply && { lastReply }) };
      assert.equal(valuesOf(read({ recipients: [recipient] }).status[1]).Status, expected);
    });
  }

  test('names a server without a name by its address in brackets', () => {
    for (const [host, name] of [
      ['192.0.2.1', 'dns; [192.0.2.1]'],
      ['2001:db8::1', 'dns; [IPv6:2001:db8::1]'],
    ] as const) {
      const recipient: Recipient = { ...REFUSED, lastReply: { code: 550, text: 'no', host } };
      assert.equal(valuesOf(read({ recipients: [recipient] }).status[1])['Remote-MTA'], name);
    }
  });
});

describe('the original recipient', () => {
  const CASES: readonly (readonly [orcpt: string, expected: string])[] = [
    ['rfc822;bo@example.org', 'rfc822; bo@example.org'],
    ['rfc822;bo+2Bnews+3D@example.org', 'rfc822; bo+news=@example.org'],
    ['rfc822;bo+0D+0AStatus: 2.0.0', 'rfc822; bo??Status: 2.0.0'],
    ['utf-8;j\\x{F6}rg@example.org', 'utf-8; j\\x{F6}rg@example.org'],
    ['utf-8;jörg@example.org', 'utf-8; j\\x{F6}rg@example.org'],
  ];
  for (const [orcpt, expected] of CASES) {
    test(`of ORCPT=${orcpt} is ${expected}`, () => {
      const { status } = read({ recipients: [{ ...REFUSED, orcpt }] });
      assert.equal(valuesOf(status[1])['Original-Recipient'], expected);
      assert.equal(valuesOf(status[1]).Status, '5.1.1');
    });
  }
});

describe('what of the message goes back', () => {
  test('is its header', () => {
    const { original } = read({ content: CONTENT });
    assert.equal(original.type, 'text/rfc822-headers');
    assert.equal(original.text, 'From: ana@example.test\r\nSubject: The order\r\n');
  });

  test('is all of it with RET=FULL', () => {
    const { original } = read({ content: CONTENT }, { ret: 'FULL' });
    assert.equal(original.type, 'message/rfc822');
    assert.equal(original.text, CONTENT.toString());
  });

  test('is its header also with RET=FULL, if the message is large, not at hand, or would need 8 bits', () => {
    const large = Buffer.concat([CONTENT, Buffer.from('more and more\r\n'.repeat(5_000))]);
    const eightBit = Buffer.concat([CONTENT, Buffer.from('Größe\r\n')]);
    for (const content of [large, eightBit]) {
      assert.equal(read({ content }, { ret: 'FULL' }).original.type, 'text/rfc822-headers');
    }
    assert.equal(read({}, { ret: 'FULL' }).original.type, 'text/rfc822-headers');
  });

  test('is cut at a line end if the header is huge', () => {
    const headers = Buffer.from(`${'X-Filler: some text\r\n'.repeat(10_000)}\r\n`);
    const { original } = read({ headers });
    assert.ok(original.text.length <= 64 * 1024);
    assert.ok(original.text.endsWith('X-Filler: some text\r\n'));
  });
});

describe('text of others', () => {
  const reply = (text: string): Partial<DsnInput> => ({
    recipients: [{ ...REFUSED, lastReply: { code: 550, text, host: 'mx.example.org' } }],
  });

  test('cannot add a field, a part or an end', () => {
    const hostile = `no\r\nStatus: 2.0.0\r\n\r\n--${input().id}--\r\n\0\x1b[2J\u202e\u2028end`;
    const { status, people } = read(reply(hostile));
    assert.equal(valuesOf(status[1]).Status, '5.0.0');
    assert.match(valuesOf(status[1])['Diagnostic-Code'] ?? '', /^smtp; 550 no Status: 2\.0\.0 --.*-- \[2J end$/);
    assert.doesNotMatch(people.text, /^Status|^--/m);
  });

  test('of 10,000 characters without a blank is cut, and folded into lines that SMTP takes', () => {
    const { content } = built(reply('x'.repeat(10_000)));
    for (const line of content.toString().split('\r\n')) assert.ok(line.length <= 998);
    assert.ok(content.length < 6_000);
  });

  test('that is no proper Message-ID is not repeated', () => {
    for (const messageId of ['<1@example.test> <2@example.test>', 'x', '<\u00fc@example.test>']) {
      assert.doesNotMatch(built({}, { messageId }).content.toString(), /^(In-Reply-To|References):/m);
    }
  });

  test('of a thousand recipients, each with the longest reply, makes a notice without delay', () => {
    const recipients = Array.from({ length: 1_000 }, (_, index) => ({
      ...REFUSED,
      address: `user${index}@example.org`,
      lastReply: { code: 550, text: 'because \u00fc '.repeat(1_000), host: 'mx.example.org' },
    }));
    const startedMs = performance.now();
    const { content } = built({ recipients });
    assert.ok(performance.now() - startedMs < 3_000);
    assert.equal(parsed(content).status.length, 1_001);
  });
});

describe('without SMTPUTF8', () => {
  const UTF8_HEADER = Buffer.from('From: ana@example.test\r\nSubject: Grüße\r\n\r\n');

  test('a notice is of ASCII, also of UTF-8 addresses, replies and headers', () => {
    const { envelope, content } = built({
      recipients: [
        {
          ...REFUSED,
          address: 'jörg+x@bücher.example',
          lastReply: { code: 550, enhanced: '5.1.1', text: 'gibt es nicht: jörg', host: 'mx.example.org' },
        },
      ],
      headers: UTF8_HEADER,
    });
    assert.deepEqual([envelope.smtputf8, envelope.bodyType], [false, '7BIT']);
    assert.doesNotMatch(content.toString('latin1'), /[^ -~\r\n]/);
    const { people, programs, original, status } = parsed(content);
    assert.deepEqual(
      [people, programs, original].map(({ type, encoding }) => `${type} ${encoding}`),
      ['text/plain quoted-printable', 'message/delivery-status 7bit', 'message/global-headers quoted-printable'],
    );
    assert.match(people.text, /<jörg\+x@bücher\.example>\r\n {2}mx\.example\.org refused it:\r\n.*nicht: jörg/);
    const fields = valuesOf(status[1]);
    assert.equal(fields['Final-Recipient'], 'utf-8; j\\x{F6}rg\\x{2B}x@b\\x{FC}cher.example');
    assert.equal(fields['Diagnostic-Code'], 'smtp; 550 5.1.1 gibt es nicht: j?rg');
    assert.equal(original.text, UTF8_HEADER.subarray(0, -2).toString());
  });

  test('header bytes that are no UTF-8, and lines that are too long, come back as they were', () => {
    const latin1 = Buffer.from('Subject: Gr\xfc\xdfe\r\n\r\n', 'latin1');
    assert.equal(read({ headers: latin1 }).original.type, 'text/rfc822-headers');
    const long = Buffer.from(`Subject: ${'x'.repeat(2_000)}\r\n\r\n`);
    const { original } = read({ headers: long });
    assert.equal(original.encoding, 'quoted-printable');
    assert.equal(original.text, long.subarray(0, -2).toString());
  });
});

test('a sender with a UTF-8 address is told in UTF-8', () => {
  const { envelope, content } = built(
    {
      recipients: [{ ...REFUSED, address: 'jörg@example.org', orcpt: 'utf-8;jörg@example.org' }],
      headers: Buffer.from('Subject: Grüße\r\n\r\n'),
    },
    { mailFrom: 'änna@example.test', smtputf8: true },
  );
  assert.deepEqual([envelope.smtputf8, envelope.bodyType], [true, '8BITMIME']);
  assert.match(content.toString(), /^To: <änna@example\.test>\r$/m);
  const { people, programs, original } = parsed(content);
  assert.deepEqual(
    [people, programs, original].map(({ type, encoding }) => `${type} ${encoding}`),
    ['text/plain 8bit', 'message/global-delivery-status 8bit', 'message/global-headers 8bit'],
  );
  assert.match(programs.text, /^Final-Recipient: utf-8; jörg@example\.org\r$/m);
  assert.match(programs.text, /^Original-Recipient: utf-8; jörg@example\.org\r$/m);
});
