import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { RelayConfig } from '../config/config.ts';
import { ContentReader } from './content.ts';
import type { SessionFacts } from './session.ts';

const KEY = { selector: 's1', algorithm: 'Ed25519', privateKey: '' } as const;

const CONFIG: RelayConfig = {
  hash: '',
  replicas: 1,
  settings: {
    relay: { namespace: 'default', name: 'outbound' },
    hostname: 'relay.example.test',
    listeners: [],
    tls: { minVersion: 'TLSv1.2' },
    delivery: {
      routes: [],
      direct: { resolvers: [], port: 25 },
      retry: { scheduleMs: [1000], expireAfterMs: 60_000 },
    },
    limits: { messageSizeBytes: 1000, recipients: 10, idleTimeoutMs: 1000 },
    monitoring: { port: 9465 },
  },
  certificates: { default: { chain: 'x', key: 'x' } },
  domains: new Map([
    ['example.test', { name: 'default/d', domain: 'example.test', dkim: { sign: false, keys: [] } }],
    ['signed.test', { name: 'default/s', domain: 'signed.test', dkim: { sign: true, keys: [KEY] } }],
  ]),
  users: new Map([
    [
      'app.default',
      {
        username: 'app.default',
        senders: ['*@example.test', '*@signed.test', 'Only@other.test'],
        verifier: { salt: 'x', iterations: 4096, storedKey: 'x', serverKey: 'x' },
      },
    ],
  ]),
  rejected: [],
};

const SESSION: SessionFacts = {
  listener: { name: 'submission', protocol: 'Submission', port: 587, tls: 'Required', exemptNetworks: [] },
  clientAddress: '127.0.0.1',
  isClientKnown: true,
  helo: 'client.test',
  extended: true,
  secure: true,
  user: 'app.default',
  config: CONFIG,
};

function read(...chunks: string[]) {
  const written: Buffer[] = [];
  const reader = new ContentReader({
    queueId: 'Q1',
    session: SESSION,
    smtputf8: false,
    nowMs: Date.UTC(2026, 10, 24),
    write(chunk) {
      written.push(Buffer.from(chunk));
      return undefined;
    },
  });
  for (const chunk of chunks) void reader.push(Buffer.from(chunk, 'latin1'));
  const result = reader.end();
  const text = Buffer.concat(written).toString('latin1');
  return 'code' in result ? { text, verdict: result } : { text, facts: result };
}

const RECEIVED =
  'Received: from client.test ([127.0.0.1])\r\n\tby relay.example.test (Chasqui) with ESMTPSA id Q1;\r\n\tTue, 24 Nov 2026 00:00:00 +0000\r\n';

test('Received goes on top and everything else stays as it came', () => {
  const message = 'From: a@example.test\r\nDate: d\r\nMessage-ID: <m@x>\r\nX: a\r\n  folded\r\n\r\nbody\r\n.dot\r\n';
  assert.equal(read(message).text, RECEIVED + message);
});

test('Date and Message-ID are added where they lack', () => {
  const { text, facts } = read('From: a@example.test\r\n\r\nbody\r\n');
  assert.match(
    text,
    /\r\nDate: Tue, 24 Nov 2026 00:00:00 \+0000\r\nMessage-ID: <Q1\.[a-z0-9]+@relay\.example\.test>\r\nFrom:/,
  );
  assert.equal(text.slice(facts?.headerBytes), 'body\r\n');
});

test('Bcc, Resent-Bcc and Return-Path are taken out with their folds', () => {
  const { text } = read(
    'Return-Path: <x@y>\r\nFrom: a@example.test\r\nBcc: b@example.org,\r\n c@example.org\r\nResent-Bcc: d@e\r\nDate: d\r\nMessage-ID: <m@x>\r\n\r\nbody\r\n',
  );
  assert.equal(text, `${RECEIVED}From: a@example.test\r\nDate: d\r\nMessage-ID: <m@x>\r\n\r\nbody\r\n`);
});

test('a bare CR and a bare LF become CRLF', () => {
  const { text, facts } = read('From: a@example.test\nDate: d\rMessage-ID: <m@x>\r\n\r\none\ntwo\rthree\r\n');
  assert.equal(text.slice(facts?.headerBytes), 'one\r\ntwo\r\nthree\r\n');
});

test('an empty body is a body', () => {
  const { text, facts } = read('From: a@signed.test\r\n\r\n');
  assert.equal(text.length, facts?.headerBytes);
  assert.equal(facts?.signAs, 'signed.test');
  assert.equal(facts.bodyHash, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
});

test('a body that will not be signed is not hashed', () => {
  const { facts } = read('From: a@example.test\r\n\r\nbody\r\n');
  assert.deepEqual([facts?.signAs, facts?.bodyHash], [undefined, undefined]);
});

const refused: readonly (readonly [string, string, string])[] = [
  ['two From fields', 'From: a@example.test\r\nFrom: b@example.test\r\n', '550 5.6.0'],
  ['no From field', 'To: a@example.test\r\n', '550 5.6.0'],
  ['no header at all', '\r\n', '550 5.6.0'],
  ['a space before the colon', 'From : a@example.test\r\n', '550 5.6.0'],
  ['a NUL', 'From: a@example.test\r\nX: \0\r\n', '550 5.6.0'],
  ['a line without a colon', 'From: a@example.test\r\nnonsense\r\n', '550 5.6.0'],
  ['a first line that is folded', ' From: x@evil.test\r\nFrom: a@example.test\r\n', '550 5.6.0'],
  ['a group', 'From: group: a@example.test;\r\n', '550 5.6.0'],
  ['a comment', 'From: a@example.test (b@evil.test)\r\n', '550 5.6.0'],
  ['two addresses in brackets', 'From: <b@evil.test> <a@example.test>\r\n', '550 5.6.0'],
  ['an address as bare display name', 'From: b@evil.test <a@example.test>\r\n', '550 5.6.0'],
  ['two Sender fields', 'From: a@example.test\r\nSender: a@example.test\r\nSender: a@example.test\r\n', '550 5.6.0'],
  ['a forged From', 'From: a@evil.test\r\n', '550 5.7.1'],
  ['a forged second mailbox', 'From: a@example.test, b@evil.test\r\n', '550 5.7.1'],
  ['a subdomain', 'From: a@sub.example.test\r\n', '550 5.7.1'],
  ['a forged Sender', 'From: a@example.test\r\nSender: b@evil.test\r\n', '550 5.7.1'],
];
for (const [what, header, reply] of refused) {
  test(`${what} is refused with ${reply}`, () => {
    const { verdict, text } = read(`${header}\r\nbody\r\n`);
    assert.equal(`${verdict?.code} ${verdict?.enhanced}`, reply);
    assert.equal(text, '');
  });
}

for (const from of [
  '"Ana, of Example" <a@example.test>',
  'Ana <A@EXAMPLE.test>',
  'ONLY@other.test',
  'a@example.test,b@example.test',
]) {
  test(`From: ${from} is taken`, () => assert.equal(read(`From: ${from}\r\n\r\nx\r\n`).verdict, undefined));
}

test('a message is read the same in any chunks', () => {
  const pieces = fc.constantFrom('\r', '\n', '\r\n', 'a', '.', 'X: y', ' ', '\r\n\r\n', '\xe4');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), fc.integer({ min: 1, max: 5 }), (parts, step) => {
      const message = `From: a@example.test\r\n${parts.join('')}\r\n`;
      const chunks = message.match(new RegExp(`[^]{1,${step}}`, 'g')) ?? [];
      const whole = read(message);
      const cut = read(...chunks);
      assert.deepEqual(cut, whole);
    }),
    { numRuns: 1000 },
  );
});
