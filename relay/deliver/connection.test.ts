import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { SELF_SIGNED } from '../../test/harness/certificate.ts';
import { at, Destination, type DestinationOptions, drop, first, hang } from '../../test/harness/destination.ts';
import { type FailureStage, HostFailure } from './classify.ts';
import { type Connection, connect, type Transaction } from './connection.ts';
import { TIMEOUTS } from './timeouts.ts';
import type { TlsPlan } from './tls-policy.ts';

const CLEAR: TlsPlan = { starttls: 'never', verify: false };
const QUICK = { ...TIMEOUTS, greeting: 200, command: 200, finalDot: 200 };

const open = (destination: Destination, tls = CLEAR, timeouts = TIMEOUTS, host = 'dest.test'): Promise<Connection> =>
  connect(
    { host, address: '127.0.0.1', port: destination.port },
    { hostname: 'relay.example.test', tls, timeouts, signal },
  );

const signal = new AbortController().signal;

const to = (...addresses: string[]): Transaction['recipients'] =>
  addresses.map((address) => ({ address, parameters: [] }));

const message: Transaction = {
  mailFrom: 'app@example.test',
  mailParameters: [],
  recipients: to('bob@dest.test'),
  content: Buffer.from('Subject: hello\r\n\r\nHello.\r\n'),
};

/** Sends one message to a destination with this script; says what came back. */
async function sendTo(options: DestinationOptions, changes: Partial<Transaction> = {}, timeouts = TIMEOUTS) {
  await using destination = await Destination.start(options);
  const connection = await open(destination, CLEAR, timeouts);
  const result = await connection.send({ ...message, ...changes });
  connection.destroy();
  return { ...result, said: Object.fromEntries([...result.replies].map(([a, r]) => [a, r.code])), destination };
}

const failsAt = (stage: FailureStage, code?: number) => (error: unknown) =>
  error instanceof HostFailure && error.stage === stage && error.reply?.code === code;

test('a message goes out in one transaction and its reply comes back', async () => {
  await using destination = await Destination.start({ react: at('dot', '250 2.0.0 Taken as 4711') });
  const connection = await open(destination);
  const { replies, failure } = await connection.send(message);
  assert.equal(failure, undefined);
  assert.deepEqual(Object.fromEntries(replies), {
    'bob@dest.test': { code: 250, enhanced: '2.0.0', text: 'Taken as 4711', host: 'dest.test' },
  });
  void connection.quit();
  await destination.until(() => destination.open === 0);
  assert.deepEqual(destination.connections[0]?.lines, [
    'EHLO relay.example.test',
    'MAIL FROM:<app@example.test>',
    'RCPT TO:<bob@dest.test>',
    'DATA',
    'QUIT',
  ]);
});

test('a connection carries one message after another', async () => {
  await using destination = await Destination.start();
  const connection = await open(destination);
  for (let i = 0; i < 3; i += 1) await connection.send(message);
  void connection.quit();
  assert.equal((await destination.received(3)).length, 3);
  assert.equal(destination.connections.length, 1);
});

test('a connection carries on after a transaction that was refused half-way', async () => {
  for (const extensions of [['PIPELINING'], []]) {
    for (const moment of ['mail', 'rcpt', 'data', 'dot'] as const) {
      await using destination = await Destination.start({ extensions, react: first(1, at(moment, '451 4.3.0 Later')) });
      const connection = await open(destination);
      await connection.send(message);
      const { replies } = await connection.send(message);
      assert.equal(replies.get('bob@dest.test')?.code, 250, moment);
      connection.destroy();
    }
  }
});

const long = Buffer.from(`Subject: x\r\n\r\n${'.line that starts with a dot\r\n'.repeat(40_000)}`);
for (const [what, content, arrives] of [
  ['lines of dots', '.\r\n..\r\n...\r\n.x\r\n', '.\r\n..\r\n...\r\n.x\r\n'],
  ['nothing at all', '', '\r\n'],
  ['an empty body', 'Subject: x\r\n\r\n', 'Subject: x\r\n\r\n'],
  ['8-bit bytes', Buffer.from([0xff, 0xfe, 0xc3, 0xa9, 0x0d, 0x0a]), Buffer.from([0xff, 0xfe, 0xc3, 0xa9, 0x0d, 0x0a])],
  ['a last line without its CRLF, which SMTP needs', 'Subject: x\r\n\r\nend', 'Subject: x\r\n\r\nend\r\n'],
  ['a megabyte in one buffer', long, long],
] as const) {
  test(`content arrives byte for byte: ${what}`, async () => {
    for (const form of ['buffer', 'stream'] as const) {
      const bytes = Buffer.from(content);
      await using destination = await Destination.start();
      const connection = await open(destination);
      await connection.send({ ...message, content: form === 'buffer' ? bytes : () => inPieces(bytes, 7_001) });
      void connection.quit();
      const [got] = await destination.received(1);
      assert.equal(Buffer.compare(got?.data ?? Buffer.alloc(0), Buffer.from(arrives)), 0, form);
    }
  });
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

test('each recipient has its own parameters', async () => {
  await using destination = await Destination.start();
  const connection = await open(destination);
  await connection.send({
    ...message,
    mailParameters: ['SIZE=27', 'SMTPUTF8'],
    recipients: [
      { address: 'bob@dest.test', parameters: ['NOTIFY=NEVER'] },
      { address: 'eve@dest.test', parameters: [] },
    ],
  });
  void connection.quit();
  const [got] = await destination.received(1);
  assert.equal(got?.mailParameters, 'SIZE=27 SMTPUTF8');
  assert.deepEqual(got?.rcptParameters, ['NOTIFY=NEVER', '']);
});

for (const extensions of [['PIPELINING'], []]) {
  const how = extensions.length > 0 ? 'pipelined' : 'in turn';

  test(`a recipient that is refused does not hold up the others (${how})`, async () => {
    const result = await sendTo(
      { extensions, react: at('rcpt', '550 5.1.1 No such user', 'eve@') },
      { recipients: to('bob@dest.test', 'eve@dest.test') },
    );
    assert.deepEqual(result.said, { 'bob@dest.test': 250, 'eve@dest.test': 550 });
    assert.deepEqual(result.destination.messages[0]?.to, ['bob@dest.test']);
  });

  test(`a refusal at RCPT stands although the message fails later (${how})`, async () => {
    for (const [moment, code] of [
      ['data', 451],
      ['dot', 452],
    ] as const) {
      const refuse = at('rcpt', '550 5.1.1 No such user', 'eve@');
      const fail = at(moment, `${code} 4.3.0 Not now`);
      const result = await sendTo(
        { extensions, react: async (step) => (await refuse(step)) ?? fail(step) },
        { recipients: to('bob@dest.test', 'eve@dest.test') },
      );
      assert.deepEqual(result.said, { 'bob@dest.test': code, 'eve@dest.test': 550 });
    }
  });

  test(`a refusal of the sender is everyone's (${how})`, async () => {
    const result = await sendTo(
      { extensions, react: at('mail', '550 5.7.1 Not from you') },
      { recipients: to('bob@dest.test', 'eve@dest.test') },
    );
    assert.deepEqual(result.said, { 'bob@dest.test': 550, 'eve@dest.test': 550 });
  });

  test(`when all are refused each has its own reply (${how})`, async () => {
    const result = await sendTo(
      {
        extensions,
        react: ({ at: moment, argument }) =>
          moment === 'rcpt' ? (argument.includes('bob@') ? '450 4.2.1 Busy' : '550 5.1.1 Nobody') : undefined,
      },
      { recipients: to('bob@dest.test', 'eve@dest.test') },
    );
    assert.deepEqual(result.said, { 'bob@dest.test': 450, 'eve@dest.test': 550 });
  });
}

test('a connection lost in DATA leaves the message without an answer, and undelivered', async () => {
  const result = await sendTo({ react: at('body', drop) });
  assert.deepEqual([result.said, result.failure?.stage, result.untouched], [{}, 'session', false]);
  assert.equal(result.destination.messages.length, 0);
});

test('a connection lost before MAIL was answered leaves the message untouched', async () => {
  assert.equal((await sendTo({ react: at('mail', drop) })).untouched, true);
  assert.equal((await sendTo({ react: at('mail', '421 4.4.2 Idle for too long') })).untouched, true);
});

test('421 in mid-transaction is quoted for those it left without an answer', async () => {
  const result = await sendTo(
    { extensions: [], react: at('rcpt', '421 4.3.2 Shutting down', 'eve@') },
    { recipients: to('bob@dest.test', 'eve@dest.test') },
  );
  assert.equal(result.untouched, false);
  assert.equal(result.failure?.reply?.text, 'Shutting down');
  assert.equal(result.said['bob@dest.test'], undefined);
});

test('a reply without end is cut off', async () => {
  const result = await sendTo({ react: at('dot', `250-${'x'.repeat(200_000)}\n250-${'y'.repeat(200_000)}\n250 z`) });
  assert.equal(result.failure?.stage, 'session');
});

test('silence ends a transaction when its time is over', async () => {
  for (const moment of ['mail', 'data', 'dot'] as const) {
    const result = await sendTo({ react: at(moment, hang) }, {}, QUICK);
    assert.equal(result.failure?.stage, 'session', moment);
  }
});

test('content that cannot be read to its end is never given its final dot', async () => {
  const damage = new Error('damaged');
  const result = await sendTo(
    {},
    {
      content: async function* () {
        yield Buffer.from('Subject: half\r\n\r\n');
        throw damage;
      },
    },
  );
  assert.equal(result.contentError, damage);
  assert.equal(result.destination.messages.length, 0);
});

const PIPELINING = { extensions: ['PIPELINING'] };
const stream = async function* () {
  yield Buffer.from('Subject: hello\r\n\r\n');
  yield Buffer.from('Hello.\r\n');
};

for (const [what, react, code] of [
  ['half of yes, half of no', at('dot', '250-2.0.0 Taken\n554 5.7.1 Refused'), 451],
  ['a yes to DATA, where content is to be asked for', at('data', '250 2.0.0 Taken'), 451],
  ['content asked for twice', at('dot', '354 Go ahead'), 451],
  ['content asked for at RCPT', at('rcpt', '354 Go ahead'), 451],
  ['no reply at all', at('dot', 'Thank you'), 451],
  ['a code that SMTP has not', at('dot', '699 Taken'), 451],
] as const) {
  test(`it is no delivery when the answer is ${what}`, async () => {
    for (const extensions of [['PIPELINING'], []]) {
      const result = await sendTo({ extensions, react });
      assert.deepEqual(result.said, {});
      assert.deepEqual([result.failure?.reply?.code, result.failure?.reply?.enhanced], [code, '4.5.0']);
      await result.destination.until(() => result.destination.open === 0);
    }
  });
}

test('a yes that comes before the message is complete is no delivery', async () => {
  for (const content of [message.content, stream]) {
    for (const reply of ['354 Go ahead\n250 2.0.0 Taken', '354 Go ahead\n250-2.0.0 Ta'] as const) {
      for (const react of [at('data', reply), at('data', { reply, thenDrop: true })]) {
        const result = await sendTo({ ...PIPELINING, react }, { content }, QUICK);
        assert.deepEqual([result.said, result.failure?.stage], [{}, 'session']);
        assert.equal(result.destination.messages.length, 0);
      }
    }
  }
});

test('a no that comes before the message is complete counts, and ends the sending', async () => {
  const sent = { chunks: 0 };
  const refused = Promise.withResolvers<void>();
  const content = async function* () {
    for (; sent.chunks < 1_000; sent.chunks += 1) {
      yield Buffer.alloc(10_000, 'line of text\r\n');
      if (sent.chunks === 3) await refused.promise;
    }
  };
  const react = first(1, ({ at: moment }) => {
    if (moment !== 'body') return undefined;
    // What is said goes out in this turn.
    setTimeout(refused.resolve, 100);
    return '552 5.3.4 Too large';
  });
  const result = await sendTo({ react }, { content });
  assert.deepEqual(result.said, { 'bob@dest.test': 552 });
  assert.ok(sent.chunks < 1_000, 'it was not sent to its end');
  assert.equal(result.destination.messages.length, 0);
});

test('a server that says more than it is asked is not listened to', async () => {
  for (const react of [
    at('ehlo', '250 dest.test\n250 2.1.0 OK'),
    at('mail', '250 2.1.0 OK\n250 2.1.5 OK'),
    at('rcpt', '250 2.1.5 OK\n354 Go ahead\n250 2.0.0 Taken'),
  ]) {
    const result = await sendTo({ extensions: [], react });
    assert.deepEqual([result.said, result.failure?.stage, result.destination.messages.length], [{}, 'session', 0]);
  }
});

test('no address, parameter or host name ever becomes a command of its own', async () => {
  const evil = 'x@dest.test>\r\nRCPT TO:<victim@dest.test';
  for (const changes of [
    { mailFrom: evil },
    { mailParameters: ['SIZE=1\nRSET'] },
    { recipients: to(evil) },
    { recipients: [{ address: 'bob@dest.test', parameters: ['NOTIFY=NEVER\r\nRSET'] }] },
  ]) {
    for (const extensions of [['PIPELINING'], []]) {
      const result = await sendTo({ extensions }, changes);
      assert.deepEqual(result.said, {});
      assert.deepEqual(result.destination.messages, []);
      assert.ok(result.destination.connections.every(({ lines }) => lines.every((line) => !/victim|RSET/.test(line))));
    }
  }
  await using destination = await Destination.start();
  const target = { host: 'dest.test', address: '127.0.0.1', port: destination.port };
  const hostname = 'relay.test\r\nMAIL FROM:<x@dest.test>';
  await assert.rejects(connect(target, { hostname, tls: CLEAR, timeouts: TIMEOUTS, signal }), failsAt('greeting'));
  assert.deepEqual(destination.connections[0]?.lines, []);
});

test('a quit that is answered without end is over in its time', async () => {
  await using destination = await Destination.start({ react: at('quit', { endless: '2', everyMs: 20 }) });
  const connection = await open(destination);
  void connection.quit();
  await destination.until(() => destination.open === 0);
  assert.equal(destination.connections[0]?.lines.at(-1), 'QUIT');
});

for (const [what, react, stage, code] of [
  ['554 as a greeting', at('greeting', '554 5.3.2 No service'), 'greeting', 554],
  ['421 as a greeting', at('greeting', '421 4.3.2 Busy'), 'greeting', 421],
  ['a closed door', at('greeting', drop), 'greeting', undefined],
  ['a silent greeting', at('greeting', hang), 'greeting', undefined],
  ['EHLO and HELO refused', at('ehlo', '550 5.7.1 Go away'), 'greeting', 550],
] as const) {
  test(`no session begins with ${what}`, async () => {
    await using destination = await Destination.start({ react });
    await assert.rejects(open(destination, CLEAR, QUICK), failsAt(stage, code));
  });
}

test('a port without a server fails at connect', async () => {
  const destination = await Destination.start();
  const { port } = destination;
  await destination[Symbol.asyncDispose]();
  const target = { host: 'dest.test', address: '127.0.0.1', port };
  await assert.rejects(
    connect(target, { hostname: 'relay.example.test', tls: CLEAR, timeouts: TIMEOUTS, signal }),
    (error: unknown) => failsAt('connect')(error) && error instanceof Error && /ECONNREFUSED/.test(error.message),
  );
});

test('connections under way end when delivery stops', async () => {
  await using destination = await Destination.start({ react: at('greeting', hang) });
  const stopping = new AbortController();
  const target = { host: 'dest.test', address: '127.0.0.1', port: destination.port };
  const options = { hostname: 'relay.example.test', tls: CLEAR, timeouts: TIMEOUTS, signal: stopping.signal };
  const opening = connect(target, options);
  void destination.until(() => destination.open === 1).then(() => stopping.abort());
  await assert.rejects(opening, HostFailure);
  await assert.rejects(connect(target, options), failsAt('connect'));
  await destination.until(() => destination.open === 0);
});

test('HELO serves a server that has no EHLO, without extensions', async () => {
  await using destination = await Destination.start({
    react: ({ at: moment, connection }) =>
      moment === 'ehlo' && connection.lines.length === 1 ? '502 5.5.1 Not implemented' : undefined,
  });
  const connection = await open(destination);
  assert.deepEqual(connection.capabilities, {
    pipelining: false,
    starttls: false,
    smtputf8: false,
    eightBitMime: false,
    dsn: false,
    auth: [],
    size: undefined,
  });
  await connection.send(message);
  void connection.quit();
  await destination.received(1);
});

const offered: TlsPlan = { starttls: 'if offered', verify: false };
const always: TlsPlan = { starttls: 'always', verify: false };
const verified: TlsPlan = { starttls: 'always', verify: true };

test('STARTTLS is used where it is offered, with any certificate', async () => {
  await using destination = await Destination.start({ certificate: SELF_SIGNED });
  const connection = await open(destination, offered);
  assert.match(connection.tls ?? 'in clear', /^TLSv1\.[23]$/);
  assert.equal(connection.capabilities.dsn, true, 'what it offers is read again under TLS');
  await connection.send(message);
  void connection.quit();
  assert.equal((await destination.received(1))[0]?.tls, true);
});

test('TLS that is required and not offered, or refused, fails at tls', async () => {
  await using clear = await Destination.start();
  await assert.rejects(open(clear, always), failsAt('tls', 502));
  await using refusing = await Destination.start({
    certificate: SELF_SIGNED,
    react: at('starttls', '454 4.7.0 Not now'),
  });
  await assert.rejects(open(refusing, offered), failsAt('tls', 454));
  await using breaking = await Destination.start({ certificate: SELF_SIGNED, react: at('starttls', drop) });
  await assert.rejects(open(breaking, offered), failsAt('tls'));
});

test('what comes in clear behind the reply to STARTTLS is never taken for an answer under TLS', async () => {
  for (const injected of ['250 x', '250-x\n250 SIZE 1', '2']) {
    for (const tls of [offered, always, verified]) {
      await using destination = await Destination.start({
        certificate: SELF_SIGNED,
        react: at('starttls', `220 2.0.0 Ready\n${injected}`),
      });
      await assert.rejects(open(destination, tls, QUICK), failsAt('tls'));
      await destination.until(() => destination.open === 0);
      assert.deepEqual(destination.connections[0]?.lines, ['EHLO relay.example.test', 'STARTTLS']);
    }
  }
});

test('nor what comes before it', async () => {
  await using destination = await Destination.start({
    certificate: SELF_SIGNED,
    react: first(1, at('ehlo', '250-x\n250 STARTTLS\n220 2.0.0 Ready')),
  });
  await assert.rejects(open(destination, always, QUICK), failsAt('tls'));
  assert.deepEqual(destination.connections[0]?.lines, ['EHLO relay.example.test']);
});

test('a verified host needs a certificate of a trusted CA, for its name', async () => {
  await using destination = await Destination.start({ certificate: SELF_SIGNED });
  await assert.rejects(open(destination, verified), failsAt('tls'));
  const trusted = getCACertificates('default');
  setDefaultCACertificates([...trusted, SELF_SIGNED.cert]);
  try {
    await assert.rejects(open(destination, verified, TIMEOUTS, 'other.test'), failsAt('tls'));
    for (const host of ['dest.test', '127.0.0.1']) {
      const connection = await open(destination, verified, TIMEOUTS, host);
      assert.match(connection.tls ?? 'in clear', /^TLSv1\.[23]$/);
      connection.destroy();
    }
  } finally {
    setDefaultCACertificates(trusted);
  }
});
