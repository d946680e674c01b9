import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SELF_SIGNED } from '../../test/harness/certificate.ts';
import { at, Destination, drop, first, hang, type Script } from '../../test/harness/destination.ts';
import { MockDns } from '../../test/harness/dns.ts';
import type { RelayConfig } from '../config/config.ts';
import type { RouteSettings, SettingsDocument, SmarthostSettings } from '../config/documents.ts';
import type { MessageEvent } from '../observe/events.ts';
import { NoSigningKey, type Signer } from '../sign/signer.ts';
import type { Envelope, Recipient } from '../spool/envelope.ts';
import { openSpool } from '../spool/open.ts';
import { type Accepted, type Spool, SpoolDamage, SpoolUnavailable } from '../spool/spool.ts';
import { createDeliverer, type DelivererOptions } from './create-deliverer.ts';
import type { Deliverer } from './deliverer.ts';
import { createDns } from './dns.ts';
import { createRouter, domainOf } from './router.ts';
import { SCHEDULER_LIMITS } from './scheduler-limits.ts';
import { TIMEOUTS } from './timeouts.ts';

type OutcomeEvent = Extract<MessageEvent, { readonly attempts: number }>;

const HEADERS = 'From: app@example.test\r\nSubject: hello\r\n\r\n';
const CONTENT = Buffer.from(`${HEADERS}Hello.\r\n.dot\r\n`);
const RETRY = { scheduleMs: [20, 40], expireAfterMs: 60_000 };

const smarthost = (port: number, tls: SmarthostSettings['tls'] = 'Disabled'): SmarthostSettings => ({
  host: '127.0.0.1',
  port,
  tls,
});
const everything = (...smarthosts: SmarthostSettings[]): RouteSettings[] => [{ domains: ['*'], smarthosts }];

/** A spool, a config that tests may change, and a deliverer over them. */
class Bench implements AsyncDisposable {
  readonly events: MessageEvent[] = [];
  readonly logged: string[] = [];
  readonly folder: string;
  spool: Spool;
  deliverer: Deliverer;
  delivery: SettingsDocument['delivery'];
  #options: Partial<DelivererOptions>;
  readonly #changed = new EventEmitter();

  private constructor(folder: string, spool: Spool, options: Partial<DelivererOptions>) {
    this.folder = folder;
    this.spool = spool;
    this.delivery = { routes: [], direct: { resolvers: [], port: 25 }, retry: RETRY };
    this.#options = options;
    this.deliverer = this.#create();
  }

  static async start(routes: RouteSettings[], options: Partial<DelivererOptions> = {}): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), 'chasqui-deliver-'));
    const bench = new Bench(folder, await openedSpool(folder), options);
    bench.delivery = { ...bench.delivery, routes };
    return bench;
  }

  #create(): Deliverer {
    return createDeliverer({
      config: { current: () => this.config(), onChange: () => () => undefined },
      spool: this.spool,
      signer: this.signer,
      observer: {
        message: (event) => {
          this.events.push(event);
          this.#changed.emit('event');
        },
        session: () => undefined,
        host: () => undefined,
        log: (_level, message) => {
          this.logged.push(message);
          this.#changed.emit('event');
        },
      },
      report: () => undefined,
      dns: createDns(() => this.delivery.direct.resolvers, 100),
      ...this.#options,
    });
  }

  signatures = 0;
  readonly signer: Signer = {
    sign: async (domain, headers) => {
      this.signatures += 1;
      assert.equal(headers.toString(), HEADERS);
      return Buffer.from(`DKIM-Signature: v=1; d=${domain}; s=key1; n=${this.signatures}\r\n`);
    },
  };

  config(): RelayConfig {
    return {
      hash: '',
      replicas: 1,
      rejected: [],
      certificates: { default: { chain: '', key: '' } },
      domains: new Map(),
      users: new Map(),
      settings: {
        relay: { namespace: 'default', name: 'outbound' },
        hostname: 'relay.example.test',
        listeners: [],
        tls: { minVersion: 'TLSv1.2' },
        delivery: this.delivery,
        limits: { messageSizeBytes: 1e6, recipients: 100, idleTimeoutMs: 1e6 },
        monitoring: { port: 1 },
      },
    };
  }

  /** Commits a message as receive does. */
  async accept(to: readonly string[], changes: Partial<Envelope> = {}, content = CONTENT): Promise<Accepted> {
    const intake = this.spool.open();
    await intake.write(Buffer.from(content));
    const router = createRouter({ current: () => this.config(), onChange: () => () => undefined });
    const groups = Map.groupBy(to, (address) => router.destinationOf(domainOf(address)));
    return intake.commit(
      {
        version: 1,
        mailFrom: 'app@example.test',
        smtputf8: false,
        bodyType: '7BIT',
        arrivedMs: Date.now(),
        sizeBytes: content.length,
        bodyHash: 'hash',
        headerBytes: HEADERS.length,
        user: 'app.default',
        ...changes,
      },
      [...groups].map(([destination, addresses]) => ({
        destination,
        recipients: addresses.map((address): Recipient => ({ address, state: 'queued' })),
      })),
    );
  }

  async send(to: readonly string[], changes: Partial<Envelope> = {}, content = CONTENT): Promise<Accepted> {
    const accepted = await this.accept(to, changes, content);
    this.deliverer.enqueue(accepted);
    return accepted;
  }

  async until(condition: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(20_000);
    while (!condition()) await once(this.#changed, 'event', { signal });
  }

  get outcomes(): readonly OutcomeEvent[] {
    return this.events.filter((event): event is OutcomeEvent => 'attempts' in event);
  }

  /** Resolves with the outcomes of a recipient once the last of them is this one. */
  async outcome(recipient: string, event: OutcomeEvent['event']): Promise<readonly OutcomeEvent[]> {
    const own = () => this.outcomes.filter((outcome) => outcome.recipient === recipient);
    await this.until(() => own().some((outcome) => outcome.event === event));
    return own();
  }

  /** Resolves with the outcome of the only attempt that is expected. */
  async only(recipient: string, event: OutcomeEvent['event']): Promise<OutcomeEvent> {
    const [outcome, ...others] = await this.outcome(recipient, event);
    assert(outcome && others.length === 0);
    return outcome;
  }

  /** Ends this process's part and opens the spool again, as after a restart. */
  async restart(graceMs = 10_000, meanwhile: () => void = () => undefined): Promise<void> {
    await this.deliverer.stop(graceMs);
    await this.spool.close();
    meanwhile();
    this.spool = await openedSpool(this.folder);
    this.deliverer = this.#create();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.deliverer.stop(0);
    await this.spool.close();
    await rm(this.folder, { recursive: true });
  }
}

const openedSpool = (folder: string): Promise<Spool> =>
  openSpool({
    folder,
    lockWaitMs: 0,
    log: () => undefined,
    onFatal: (error) => {
      throw error;
    },
    now: Date.now,
  });

test('a message is signed, delivered, recorded, and then told', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  const { queueId } = await bench.send(['bob@dest.test'], { signAs: 'example.test' });
  const outcome = await bench.only('bob@dest.test', 'delivered');
  assert.deepEqual(await bench.spool.stats(), { messages: 0, deliveries: 0 });
  const [got] = destination.messages;
  assert.equal(got?.data.toString(), `DKIM-Signature: v=1; d=example.test; s=key1; n=1\r\n${CONTENT.toString()}`);
  assert.deepEqual(
    [bench.events[0], outcome.queueId, outcome.attempts, outcome.reply.code, outcome.reply.host],
    [{ event: 'signed', queueId, domain: 'example.test', selectors: ['key1'] }, queueId, 1, 250, '127.0.0.1'],
  );
});

const lossy: readonly [string, Script, string][] = [
  ['421 as a greeting', at('greeting', '421 4.3.2 Busy'), '421 4.3.2'],
  ['554 as a greeting', at('greeting', '554 5.3.2 No service'), '554 5.3.2'],
  ['a door that closes', at('greeting', drop), '451 4.4.2'],
  ['450 to MAIL', at('mail', '450 4.7.1 Later'), '450 4.7.1'],
  ['450 to RCPT', at('rcpt', '450 4.2.1 Greylisted'), '450 4.2.1'],
  ['451 to DATA', at('data', '451 4.3.0 Later'), '451 4.3.0'],
  ['a connection dropped in DATA', at('body', drop), '451 4.4.2'],
  ['452 after the dot', at('dot', '452 4.3.1 Full'), '452 4.3.1'],
  ['a connection dropped after the dot', at('dot', drop), '451 4.4.2'],
  ['silence after the dot', at('dot', hang), '451 4.4.2'],
];
for (const [what, script, said] of lossy) {
  test(`${what} defers; the next attempt sends the same bytes`, async () => {
    await using destination = await Destination.start({ react: first(1, script) });
    const timeouts = { ...TIMEOUTS, finalDot: 300 };
    await using bench = await Bench.start(everything(smarthost(destination.port)), { timeouts });
    await bench.send(['bob@dest.test'], { signAs: 'example.test' });
    const [deferred, delivered] = await bench.outcome('bob@dest.test', 'delivered');
    assert.equal(`${deferred?.reply.code} ${deferred?.reply.enhanced}`, said);
    assert.deepEqual([deferred?.event, deferred?.attempts, delivered?.attempts], ['deferred', 1, 2]);
    assert.equal(bench.signatures, 1);
    assert.equal(destination.messages.length, 1);
  });
}

test('after a restart a deferred message goes on with the signature it had', async () => {
  await using destination = await Destination.start({ react: at('dot', '451 4.3.0 Later') });
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  await bench.send(['bob@dest.test'], { signAs: 'example.test' });
  await bench.outcome('bob@dest.test', 'deferred');
  await bench.restart();
  destination.react = () => undefined;
  await bench.deliverer.start();
  await bench.outcome('bob@dest.test', 'delivered');
  assert.equal(bench.signatures, 1);
  assert.match(destination.messages[0]?.data.toString() ?? '', /n=1\r\n/);
});

test('all deliveries of a message carry the same signature', async () => {
  await using destination = await Destination.start({ react: first(2, at('dot', '451 4.3.0 Later')) });
  const { port } = destination;
  await using bench = await Bench.start([
    { domains: ['a.test'], smarthosts: [smarthost(port)] },
    { domains: ['b.test'], smarthosts: [{ ...smarthost(port), host: '127.0.0.2' }, smarthost(port)] },
  ]);
  await bench.send(['x@a.test', 'y@b.test'], { signAs: 'example.test' });
  await bench.outcome('x@a.test', 'delivered');
  await bench.outcome('y@b.test', 'delivered');
  const [one, two] = await destination.received(2);
  assert.deepEqual(one?.data, two?.data);
});

test('each recipient has its own end, and the sender is told of the failed ones in the same commit', async () => {
  await using destination = await Destination.start({ react: at('rcpt', '550 5.1.1 No such user', 'eve@') });
  const failed: unknown[] = [];
  await using bench = await Bench.start(everything(smarthost(destination.port)), {
    report: ({ envelope, recipients, headers }) => {
      failed.push([headers.toString(), recipients.map(({ address, state }) => [address, state])]);
      const content = Buffer.from('From: mailer-daemon@example.test\r\n\r\nNot delivered.\r\n');
      return {
        envelope: { ...envelope, mailFrom: '', sizeBytes: content.length },
        content,
        deliveries: [{ destination: 'home', recipients: [{ address: envelope.mailFrom, state: 'queued' }] }],
      };
    },
  });
  await bench.send(['bob@dest.test', 'eve@dest.test']);
  await bench.only('bob@dest.test', 'delivered');
  const bounced = await bench.only('eve@dest.test', 'bounced');
  const notice = await bench.only('app@example.test', 'delivered');
  assert.equal(bounced.dsn, notice.queueId);
  assert.deepEqual(failed, [[HEADERS, [['eve@dest.test', 'bounced']]]]);
  assert.match(destination.messages[1]?.data.toString() ?? '', /Not delivered/);
  assert.deepEqual(await bench.spool.stats(), { messages: 0, deliveries: 0 });
});

test('a recipient that stays deferred expires with the last reply', async () => {
  await using destination = await Destination.start({ react: at('rcpt', '450 4.2.2 Mailbox full') });
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  bench.delivery = { ...bench.delivery, retry: { scheduleMs: [20], expireAfterMs: 100 } };
  await bench.send(['bob@dest.test']);
  const outcomes = await bench.outcome('bob@dest.test', 'expired');
  const last = outcomes.at(-1);
  assert(outcomes.length > 2 && last && last.ageMs >= 100);
  assert.equal(last.reply.enhanced, '4.2.2');
  assert.deepEqual(await bench.spool.stats(), { messages: 0, deliveries: 0 });
});

test('the next smarthost takes what the first cannot', async () => {
  await using busy = await Destination.start({ react: at('greeting', '450 4.3.2 Busy') });
  await using destination = await Destination.start();
  const gone = await Destination.start();
  const { port } = gone;
  await gone[Symbol.asyncDispose]();
  await using bench = await Bench.start(everything(smarthost(port), smarthost(busy.port), smarthost(destination.port)));
  await bench.send(['bob@dest.test']);
  await bench.only('bob@dest.test', 'delivered');
  assert.equal(busy.connections.length, 1);
});

test('a smarthost that was down is asked last for a while, and still asked when no other can', async () => {
  await using busy = await Destination.start({ react: at('greeting', '450 4.3.2 Busy') });
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(busy.port), smarthost(destination.port)));
  for (const to of ['one@dest.test', 'two@dest.test']) {
    await bench.send([to]);
    await bench.only(to, 'delivered');
  }
  assert.equal(busy.connections.length, 1);
  destination.react = at('mail', '421 4.3.2 Closing');
  busy.react = () => undefined;
  await bench.send(['three@dest.test']);
  await bench.only('three@dest.test', 'delivered');
  assert.equal(busy.messages.length, 1);
});

test('a host that answered for the message is the last one asked', async () => {
  await using firstHost = await Destination.start({ react: at('rcpt', '550 5.1.1 No such user') });
  await using second = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(firstHost.port), smarthost(second.port)));
  await bench.send(['bob@dest.test']);
  await bench.only('bob@dest.test', 'bounced');
  assert.equal(second.connections.length, 0);
});

test('opportunistic TLS falls back to clear text on a new connection', async () => {
  await using destination = await Destination.start({ certificate: SELF_SIGNED, react: at('starttls', drop) });
  await using bench = await Bench.start(everything(smarthost(destination.port, 'Opportunistic')));
  await bench.send(['bob@dest.test']);
  await bench.only('bob@dest.test', 'delivered');
  assert.deepEqual([destination.connections.length, destination.messages[0]?.tls], [2, false]);
});

test('required TLS defers rather than send in clear', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port, 'Required')));
  await bench.send(['bob@dest.test']);
  await bench.outcome('bob@dest.test', 'deferred');
  assert.equal(destination.messages.length, 0);
});

test('mail goes to the MX of its domain, or is refused as DNS says', async () => {
  await using destination = await Destination.start();
  await using dns = await MockDns.start();
  dns
    .add({ type: 'MX', name: 'dest.test', data: { preference: 10, exchange: 'mx.dest.test' } })
    .add({ type: 'A', name: 'mx.dest.test', data: '127.0.0.1' })
    .add({ type: 'A', name: 'implicit.test', data: '127.0.0.1' })
    .add({ type: 'MX', name: 'hostless.test', data: { preference: 10, exchange: 'gone.test' } })
    .addNullMx('null.test')
    .fail('broken.test', 'servfail');
  await using bench = await Bench.start([]);
  bench.delivery = { ...bench.delivery, direct: { resolvers: [dns.address], port: destination.port } };
  const domains = ['dest', 'implicit', 'hostless', 'null', 'broken', 'nowhere'];
  await bench.send([...domains.map((domain) => `bob@${domain}.test`), 'bob@[127.0.0.1]']);
  await bench.only('bob@dest.test', 'delivered');
  await bench.only('bob@implicit.test', 'delivered');
  await bench.only('bob@[127.0.0.1]', 'delivered');
  assert.equal((await bench.only('bob@hostless.test', 'bounced')).reply.enhanced, '5.4.4');
  assert.equal((await bench.only('bob@null.test', 'bounced')).reply.enhanced, '5.1.10');
  assert.equal((await bench.only('bob@nowhere.test', 'bounced')).reply.enhanced, '5.1.2');
  assert.equal((await bench.outcome('bob@broken.test', 'deferred'))[0]?.reply.enhanced, '4.4.3');
});

test('messages share a connection, up to a hundred', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)), {
    limits: { ...SCHEDULER_LIMITS, perDestination: 1 },
  });
  for (let i = 0; i < 101; i += 1) await bench.send([`r${i}@dest.test`]);
  await destination.received(101);
  assert.equal(destination.connections.length, 2);
});

test('an idle connection that the server closed costs the message nothing', async () => {
  for (const fault of [drop, '421 4.4.2 Idle for too long'] as const) {
    await using destination = await Destination.start();
    await using bench = await Bench.start(everything(smarthost(destination.port)));
    await bench.send(['one@dest.test']);
    await bench.only('one@dest.test', 'delivered');
    destination.react = (step) => (step.at === 'mail' && step.connection.number === 1 ? fault : undefined);
    await bench.send(['two@dest.test']);
    await bench.only('two@dest.test', 'delivered');
    assert.equal(destination.connections.length, 2);
  }
});

test('a destination that hangs holds up nobody else, and has no more than its connections', async () => {
  await using slow = await Destination.start({ react: at('dot', hang) });
  await using quick = await Destination.start();
  await using bench = await Bench.start([
    { domains: ['slow.test'], smarthosts: [smarthost(slow.port)] },
    { domains: ['quick.test'], smarthosts: [smarthost(quick.port)] },
  ]);
  for (let i = 0; i < 30; i += 1) await bench.send([`r${i}@slow.test`]);
  await slow.until(() => slow.open === 20);
  for (let i = 0; i < 30; i += 1) await bench.send([`r${i}@quick.test`]);
  await quick.received(30);
  assert.equal(slow.connections.length, 20);
});

test('what does not fit in memory waits in the spool and goes in its turn', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)), {
    limits: {
      perDestination: 2,
      attempts: 2,
      deliveries: 5,
      destinationDeliveries: 3,
      bytes: 200,
      destinationTaken: 3,
      taken: 5,
    },
  });
  for (let i = 0; i < 40; i += 1) await bench.send([`r${i}@dest.test`]);
  const messages = await destination.received(40);
  assert.equal(new Set(messages.flatMap(({ to }) => to)).size, 40);
  await bench.until(() => bench.outcomes.length === 40);
  assert.deepEqual(await bench.spool.stats(), { messages: 0, deliveries: 0 });
});

test('many slow lanes do not hide the due ones behind them', async () => {
  await using slow = await Destination.start({ react: at('greeting', hang) });
  await using quick = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(slow.port)), {
    limits: { ...SCHEDULER_LIMITS, perDestination: 1 },
  });
  const { port } = slow;
  bench.delivery = {
    ...bench.delivery,
    routes: [
      { domains: ['quick.test'], smarthosts: [smarthost(quick.port)] },
      { domains: ['*'], smarthosts: [smarthost(port)] },
    ],
  };
  for (let i = 0; i < 300; i += 1) await bench.accept([`bob@dest.test`], { user: `user${i}.default` });
  await bench.accept(['bob@quick.test']);
  await bench.restart();
  await bench.deliverer.start();
  await quick.received(1);
});

test('recipients are routed again at each attempt', async () => {
  await using before = await Destination.start({ react: at('rcpt', '450 4.2.1 Later') });
  await using one = await Destination.start();
  await using two = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(before.port)));
  await bench.send(['bob@a.test', 'eve@b.test']);
  await bench.outcome('eve@b.test', 'deferred');
  bench.delivery = {
    ...bench.delivery,
    routes: [
      { domains: ['a.test'], smarthosts: [smarthost(one.port)] },
      { domains: ['b.test'], smarthosts: [smarthost(two.port)] },
    ],
  };
  await bench.outcome('bob@a.test', 'delivered');
  await bench.outcome('eve@b.test', 'delivered');
  assert.deepEqual([one.messages[0]?.to, two.messages[0]?.to], [['bob@a.test'], ['eve@b.test']]);
});

test('mail whose domain has no key waits for one, and never goes out unsigned', async () => {
  await using destination = await Destination.start();
  let key = false;
  await using bench = await Bench.start(everything(smarthost(destination.port)), {
    signer: {
      sign: async () => {
        if (!key) throw new NoSigningKey('example.test has no active key');
        return Buffer.from('DKIM-Signature: s=new\r\n');
      },
    },
  });
  await bench.send(['bob@dest.test'], { signAs: 'example.test' });
  const [deferred] = await bench.outcome('bob@dest.test', 'deferred');
  assert.equal(`${deferred?.reply.code} ${deferred?.reply.enhanced}`, '451 4.7.5');
  assert.equal(destination.connections.length, 0);
  key = true;
  await bench.outcome('bob@dest.test', 'delivered');
  assert.match(destination.messages[0]?.data.toString() ?? '', /^DKIM-Signature: s=new/);
});

test('a large message is read from its file, signature first', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  const large = Buffer.concat([Buffer.from(HEADERS), Buffer.alloc(3_000_000, 'line of text\r\n'), Buffer.from('\r\n')]);
  await bench.send(['bob@dest.test'], { signAs: 'example.test' }, large);
  const [got] = await destination.received(1);
  const signature = Buffer.from('DKIM-Signature: v=1; d=example.test; s=key1; n=1\r\n');
  assert.equal(Buffer.compare(got?.data ?? Buffer.alloc(0), Buffer.concat([signature, large])), 0);
});

test('stop waits for what is in hand and begins nothing new', async () => {
  const asked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  await using destination = await Destination.start({
    react: async ({ at: moment }) => {
      if (moment !== 'dot') return undefined;
      asked.resolve();
      await release.promise;
      return undefined;
    },
  });
  await using bench = await Bench.start(everything(smarthost(destination.port)), {
    limits: { ...SCHEDULER_LIMITS, perDestination: 1 },
  });
  await bench.send(['one@dest.test']);
  await bench.send(['two@dest.test']);
  await asked.promise;
  const stopped = bench.deliverer.stop(10_000);
  release.resolve();
  await stopped;
  assert.deepEqual(
    bench.outcomes.map(({ event, recipient }) => [event, recipient]),
    [['delivered', 'one@dest.test']],
  );
  assert.equal((await bench.spool.stats()).deliveries, 1);
});

test('what has no answer when the grace time ends is recorded as nothing and sent again after the restart', async () => {
  await using destination = await Destination.start({ react: at('dot', hang) });
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  const { queueId } = await bench.send(['bob@dest.test']);
  await destination.until(() => destination.connections[0]?.lines.includes('DATA') === true);
  await bench.deliverer.stop(0);
  assert.deepEqual(bench.outcomes, []);
  assert.equal((await bench.spool.show(queueId))?.deliveries[0]?.attempts, 0);
  destination.react = () => undefined;
  await bench.restart();
  await bench.deliverer.start();
  await bench.only('bob@dest.test', 'delivered');
});

test('what was in memory in the old part of a long queue is sent after the start, too', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  await bench.accept(['bob@dest.test']);
  await bench.restart(0, () => {
    const db = new DatabaseSync(join(bench.folder, 'queue.db'));
    // As after very many that came and went.
    db.exec("UPDATE sqlite_sequence SET seq = 100000 WHERE name = 'delivery'");
    db.close();
  });
  assert.deepEqual((await bench.spool.destinations(Date.now(), 1)).due, []);
  await bench.deliverer.start();
  await bench.only('bob@dest.test', 'delivered');
});

test('an outcome that the spool cannot take yet is kept until it can, and told only then', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  const { spool } = bench;
  const record = spool.record.bind(spool);
  spool.record = async () => {
    spool.record = record;
    assert.deepEqual(bench.outcomes, []);
    throw new SpoolUnavailable('disk full');
  };
  await bench.send(['bob@dest.test']);
  await bench.only('bob@dest.test', 'delivered');
  assert.equal(destination.messages.length, 1);
});

test('a damaged message is held and told, and is sent to nobody', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  await bench.accept(['bob@dest.test']);
  await bench.restart();
  bench.spool.read = async () => {
    throw new SpoolDamage('wrong crc');
  };
  await bench.deliverer.start();
  await bench.until(() => bench.logged.length > 0);
  assert.equal(destination.connections.length, 0);
  assert.equal((await bench.spool.stats()).deliveries, 1);
});

/** Domains whose MX hosts are named by a pattern, all of them at this machine. */
async function provider(domains: number): Promise<MockDns> {
  const dns = await MockDns.start();
  for (let i = 0; i < domains; i += 1) {
    dns.add({ type: 'MX', name: `d${i}.test`, data: { preference: 10, exchange: `MX-${i}.Provider.test` } });
    dns.add({ type: 'A', name: `mx-${i}.provider.test`, data: '127.0.0.1' });
  }
  dns.add({ type: 'MX', name: 'other.test', data: { preference: 10, exchange: 'mx.other.test' } });
  dns.add({ type: 'A', name: 'mx.other.test', data: '127.0.0.1' });
  return dns;
}

test('all domains of one provider share the connections that it may be asked for, and nobody else waits for them', async () => {
  await using destination = await Destination.start();
  let most = 0;
  const toProvider = ({ to }: { readonly to: readonly string[] }): boolean => !to[0]?.endsWith('@other.test');
  destination.react = async (step) => {
    // One that was taken leave of is on its way out.
    const open = destination.connections.filter(({ closed, lines }) => !closed && !lines.includes('QUIT'));
    most = Math.max(most, open.length);
    if (step.at === 'dot') await sleep(5);
    return undefined;
  };
  await using dns = await provider(30);
  await using bench = await Bench.start([]);
  bench.delivery = {
    ...bench.delivery,
    direct: { resolvers: [dns.address], port: destination.port },
    destinations: [{ name: 'provider', domains: [], mx: ['*.provider.test'], maxConnections: 4 }],
  };
  // As many hosts as domains: idle connections to the one count for the other.
  for (let i = 0; i < 90; i += 1) await bench.send([`r${i}@d${i % 30}.test`]);
  await destination.received(90);
  assert.equal(most, 4, 'connections at a time');
  assert.equal(new Set(destination.messages.flatMap(({ to }) => to)).size, 90);
  assert.equal(bench.events.filter(({ event }) => event === 'deferred').length, 0, 'to wait is no failure');

  destination.react = ({ at: step }) => (step === 'dot' ? hang : undefined);
  for (let i = 0; i < 30; i += 1) await bench.send([`hangs${i}@d${i}.test`]);
  await destination.until(() => destination.open >= 4);
  destination.react = () => undefined;
  await bench.send(['ann@other.test']);
  await destination.until(() => destination.messages.some((message) => !toProvider(message)));
});

test('of a destination with a limit by the minute messages go evenly, and over as many connections as it says', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start([
    { domains: ['limited.test'], smarthosts: [{ ...smarthost(destination.port), host: 'localhost' }] },
    { domains: ['*'], smarthosts: [smarthost(destination.port)] },
  ]);
  const messagesPerMinute = 1_200;
  bench.delivery = {
    ...bench.delivery,
    destinations: [
      {
        name: 'limited',
        domains: [],
        mx: ['localhost'],
        messagesPerMinute,
        messagesPerConnection: 3,
        maxConnections: 1,
      },
    ],
  };
  const beganMs = performance.now();
  for (let i = 0; i < 21; i += 1) await bench.send([`r${i}@limited.test`, `r${i}@free.test`]);
  await destination.until(() => destination.messages.filter(({ to }) => to[0]?.endsWith('@free.test')).length === 21);
  await destination.received(42);
  const tookMs = performance.now() - beganMs;
  assert.ok(tookMs >= 20 * (60_000 / messagesPerMinute), `it took ${tookMs} ms`);
  const limited = destination.connections.filter(({ lines }) => lines.some((line) => line.includes('@limited.test')));
  assert.equal(limited.length, 7, 'three messages each');
});

test('recipients beyond what one connection may carry follow over the next one', async () => {
  await using destination = await Destination.start();
  await using bench = await Bench.start(everything(smarthost(destination.port)));
  bench.delivery = {
    ...bench.delivery,
    destinations: [{ name: 'one-each', domains: [], mx: ['127.0.0.1'], messagesPerConnection: 1, maxConnections: 1 }],
  };
  // A hundred recipients to a transaction.
  await bench.send(Array.from({ length: 250 }, (_, index) => `r${index}@dest.test`));
  await destination.received(3);
  assert.deepEqual(
    destination.connections.map(({ lines }) => lines.filter((line) => line.startsWith('MAIL ')).length),
    [1, 1, 1],
  );
  assert.equal(new Set(destination.messages.flatMap(({ to }) => to)).size, 250);
});
