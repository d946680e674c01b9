/** What clients that do it wrong are told, by a running relay. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { makeVerifier } from '../../operator/smtpuser/scram.ts';
import type { ConfigSource, RelayConfig } from '../../relay/config/config.ts';
import { createReceiver, type Receiver } from '../../relay/receive/receiver.ts';
import { openSpool } from '../../relay/spool/open.ts';
import type { Spool } from '../../relay/spool/spool.ts';
import { SELF_SIGNED } from '../harness/certificate.ts';

const LISTENERS: RelayConfig['settings']['listeners'] = [
  { name: 'submission', protocol: 'Submission', port: 587, tls: 'Required', exemptNetworks: [] },
  { name: 'submissions', protocol: 'Submissions', port: 465, tls: 'Required', exemptNetworks: [] },
  { name: 'local', protocol: 'Submission', port: 25, tls: 'Optional', exemptNetworks: ['127.0.0.0/8'] },
];
const ports = new Map<string, number>();
let folder: string;
let spool: Spool;
let receiver: Receiver;
const accepted: string[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'chasqui-'));
  spool = await openSpool({
    folder: join(folder, 'spool'),
    lockWaitMs: 0,
    log: () => {},
    onFatal: (error) => {
      throw error;
    },
    now: Date.now,
  });
  const config: RelayConfig = {
    hash: '',
    replicas: 1,
    settings: {
      relay: { namespace: 'default', name: 'outbound' },
      hostname: 'relay.example.test',
      listeners: [...LISTENERS],
      tls: { minVersion: 'TLSv1.2' },
      delivery: {
        routes: [],
        direct: { resolvers: [], port: 25 },
        retry: { scheduleMs: [1000], expireAfterMs: 60_000 },
      },
      limits: { messageSizeBytes: 10_000, recipients: 2, idleTimeoutMs: 1_000 },
      monitoring: { port: 9465 },
    },
    certificates: { default: { chain: SELF_SIGNED.cert, key: SELF_SIGNED.key } },
    domains: new Map([
      ['example.test', { name: 'default/example-test', domain: 'example.test', dkim: { sign: false, keys: [] } }],
    ]),
    users: new Map([
      ['app.default', { username: 'app.default', senders: ['*@example.test'], verifier: await makeVerifier('right') }],
    ]),
    rejected: [],
  };
  const source: ConfigSource = { current: () => config, onChange: () => () => {} };
  receiver = createReceiver({
    config: source,
    spool,
    observer: { message() {}, session() {}, log() {} },
    router: { destinationOf: (domain) => domain },
    nullMx: (domain) => Promise.resolve(domain === 'nullmx.test'),
    onAccepted: ({ queueId }) => accepted.push(queueId),
    now: Date.now,
    ordinal: 0,
  });
  for (const { name } of LISTENERS) ports.set(name, await receiver.listen(name, { port: 0, host: '127.0.0.1' }));
});

after(async () => {
  await receiver.stop(1_000);
  await spool.close();
  await rm(folder, { recursive: true });
});

/** A client that says lines and hears whole replies. */
class Client {
  #socket: Socket;
  #heard = '';
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen();
  }

  static async connect(listener: string): Promise<Client> {
    const where = { host: '127.0.0.1', port: ports.get(listener) ?? 0, rejectUnauthorized: false };
    const socket = listener === 'submissions' ? connectTls(where) : connectTcp(where);
    const client = new Client(socket);
    assert.match(await client.reply(), /^220 /);
    return client;
  }

  #listen(): void {
    this.#socket.on('data', (chunk) => {
      this.#heard += chunk.toString();
      this.#wake();
    });
    this.#socket.on('error', () => this.#wake());
  }

  async reply(): Promise<string> {
    for (;;) {
      const whole = /^(?:\d{3}-.*\r\n)*\d{3}(?: .*)?\r\n/.exec(this.#heard)?.[0];
      if (whole !== undefined) {
        this.#heard = this.#heard.slice(whole.length);
        return whole;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async say(line: string): Promise<string> {
    this.#socket.write(`${line}\r\n`);
    return this.reply();
  }

  async startTls(): Promise<void> {
    assert.match(await this.say('STARTTLS'), /^220 /);
    this.#socket.removeAllListeners('data');
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false });
    await once(secure, 'secureConnect');
    this.#socket = secure;
    this.#listen();
    await this.say('EHLO client.test');
  }

  async logIn(): Promise<Client> {
    assert.match(await this.say(`AUTH PLAIN ${plain('right')}`), /^235 2\.7\.0 /);
    return this;
  }

  close(): void {
    this.#socket.destroy();
  }
}

const plain = (password: string): string => Buffer.from(`\0app.default\0${password}`).toString('base64');

/** A session on the listener after EHLO; the last line decides. */
async function dialogue(listener: string, ...lines: readonly string[]): Promise<string> {
  const client = await Client.connect(listener);
  let reply = await client.say('EHLO client.test');
  for (const line of lines) reply = await client.say(line);
  client.close();
  return reply;
}

const LOGIN = `AUTH PLAIN ${plain('right')}`;
const MAIL = ['MAIL FROM:<a@example.test>', 'RCPT TO:<b@example.org>', 'DATA'];
const content = (header: string, body = 'body'): string => `${header}\r\n\r\n${body}\r\n.`;

const CASES: readonly (readonly [string, string, readonly string[], string])[] = [
  ['AUTH in clear', 'submission', [LOGIN], '538 5.7.11'],
  ['MAIL before STARTTLS', 'submission', ['MAIL FROM:<a@example.test>'], '530 5.7.0'],
  ['MAIL before AUTH', 'submissions', ['MAIL FROM:<a@example.test>'], '530 5.7.0'],
  ['a wrong password', 'submissions', [`AUTH PLAIN ${plain('wrong')}`], '535 5.7.8'],
  ['an unknown user', 'submissions', [`AUTH PLAIN ${Buffer.from('\0nobody\0x').toString('base64')}`], '535 5.7.8'],
  [
    'a wrong password by LOGIN',
    'submissions',
    ['AUTH LOGIN', Buffer.from('app.default').toString('base64'), 'eA=='],
    '535 5.7.8',
  ],
  ['a forged MAIL FROM', 'submissions', [LOGIN, 'MAIL FROM:<a@evil.test>'], '550 5.7.1'],
  ['a forged MAIL FROM of an exempt network', 'local', ['MAIL FROM:<a@evil.test>'], '550 5.7.1'],
  ['a forged From', 'submissions', [LOGIN, ...MAIL, content('From: a@evil.test')], '550 5.7.1'],
  [
    'a forged Sender',
    'submissions',
    [LOGIN, ...MAIL, content('From: a@example.test\r\nSender: a@evil.test')],
    '550 5.7.1',
  ],
  [
    'two From fields',
    'submissions',
    [LOGIN, ...MAIL, content('From: a@example.test\r\nFrom: a@example.test')],
    '550 5.6.0',
  ],
  ['an unknown command', 'submissions', ['NONSENSE'], '500 5.5.2'],
  ['WIZ', 'submissions', ['WIZ x'], '500 5.5.2'],
  ['SHELL', 'submissions', ['SHELL'], '500 5.5.2'],
  ['KILL', 'submissions', ['KILL'], '500 5.5.2'],
  ['a command line over 2,048 bytes', 'submissions', [`NOOP ${'x'.repeat(2_048)}`], '500 5.5.2'],
  ['a command line of 200,000 bytes', 'submissions', [`NOOP ${'x'.repeat(200_000)}`], '500 5.5.'],
  ['an AUTH line over 12,288 bytes', 'submissions', [`AUTH PLAIN ${'x'.repeat(12_288)}`], '500 5.5.6'],
  [
    'too many recipients',
    'local',
    ['MAIL FROM:<a@example.test>', 'RCPT TO:<b@x.test>', 'RCPT TO:<c@x.test>', 'RCPT TO:<d@x.test>'],
    '452 4.5.3',
  ],
  ['SIZE over the limit', 'local', ['MAIL FROM:<a@example.test> SIZE=10001'], '552 5.3.4'],
  ['a message over the limit', 'local', [...MAIL, content('From: a@example.test', 'x'.repeat(10_001))], '552 5.3.4'],
  ['a domain with a null MX', 'local', ['MAIL FROM:<a@example.test>', 'RCPT TO:<b@nullmx.test>'], '556 5.1.10'],
  ['a client that says nothing', 'local', [], '421 4.4.2'],
];

for (const [what, listener, lines, expected] of CASES) {
  test(`${what} is answered ${expected}`, async () => {
    const before = accepted.length;
    const client = await Client.connect(listener);
    let reply = await client.say('EHLO client.test');
    for (const line of lines) reply = await client.say(line);
    if (lines.length === 0) reply = await client.reply();
    client.close();
    assert.ok(reply.startsWith(expected), reply);
    assert.doesNotMatch(reply, /^\d{3} \d\.\d+\.\d+ \d\.\d+\.\d+/, 'one enhanced code only');
    assert.equal(accepted.length, before, 'nothing is delivered');
  });
}

test('AUTH is offered under TLS only', async () => {
  assert.doesNotMatch(await dialogue('submission'), /AUTH/);
  assert.match(await dialogue('submissions'), /^250[ -]AUTH PLAIN LOGIN\r$/m);
});

test('a message is answered 250 with the queue id under which the spool has it', async () => {
  const client = await Client.connect('submission');
  await client.say('EHLO client.test');
  await client.startTls();
  await client.logIn();
  for (const line of MAIL) await client.say(line);
  const reply = await client.say(content('From: a@example.test', '..dot'));
  client.close();
  const queueId = /^250 2\.6\.0 queued as (\w+)\r\n$/.exec(reply)?.[1] ?? '';
  const { data } = await spool.read(queueId);
  assert.ok(Buffer.isBuffer(data));
  assert.match(data.toString(), /^Received: [\s\S]*\r\n\r\n\.dot\r\n$/);
});
