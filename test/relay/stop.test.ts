/** What SIGTERM does to a relay that has much in hand: it finishes what it can, and the next process goes on. */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Destination, type Reaction } from '../harness/destination.ts';
import { type RelayLine, RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

/** Attempts at once to one destination. */
const IN_FLIGHT = 20;
const QUEUED = 10;
const GRACE_MS = 10_000;
/** As in a pod. */
const ACCEPT_MS = 5_000;
/** A supervisor kills what has not ended by then. */
const KILL_MS = 15_000;
/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 20_000;

/** A destination that answers no final dot before it is released. */
class Holding {
  readonly destination: Destination;
  readonly #waiting: ((reaction: undefined) => void)[] = [];
  #released = false;
  readonly #dots = new EventEmitter();

  constructor(destination: Destination) {
    this.destination = destination;
    destination.react = ({ at }) => {
      if (at !== 'dot' || this.#released) return undefined;
      return new Promise<Reaction | undefined>((resolve) => {
        this.#waiting.push(resolve);
        this.#dots.emit('read');
      });
    };
  }

  /** Resolves once so many deliveries wait for a reply. */
  async untilWaiting(count: number): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_MS);
    while (this.#waiting.length < count) await once(this.#dots, 'read', { signal });
    assert.equal(this.#waiting.length, count);
  }

  /** Answers one delivery. */
  releaseOne(): void {
    this.#waiting.pop()?.(undefined);
  }

  release(): void {
    this.#released = true;
    for (const resolve of this.#waiting) resolve(undefined);
  }

  /** Transactions that were begun. */
  get begun(): number {
    return this.destination.connections.flatMap(({ lines }) => lines).filter((line) => line.startsWith('MAIL ')).length;
  }

  /** How often each recipient's message has arrived. */
  arrived(): Readonly<Record<string, number>> {
    const recipients = this.destination.messages.flatMap(({ to }) => to);
    return Object.fromEntries([...Map.groupBy(recipients, (to) => to)].map(([to, all]) => [to, all.length]));
  }
}

const HEADER = 'From: <app@example.test>\r\n\r\n';

async function greeted(relay: RelayProcess): Promise<SmtpClient> {
  const client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250-']);
  return client;
}

const begin = (client: SmtpClient, recipient: string): Promise<void> =>
  client.talk(['MAIL FROM:<app@example.test>', '250 '], [`RCPT TO:<${recipient}>`, '250 '], ['DATA', '354 ']);

const stopping = (relay: RelayProcess): Promise<void> =>
  relay.logged('the relay stops', ({ message }) => message?.startsWith('relay stops') ?? false);

const isDelivered = ({ event }: RelayLine): boolean => event === 'delivered';

test('on SIGTERM a message in DATA gets its 250, deliveries get their reply, and the rest goes on after the restart', async () => {
  await using destination = await Destination.start();
  const held = new Holding(destination);
  await using relay = await RelayProcess.start(destination.port);
  await using sender = await greeted(relay);
  const recipients = Array.from({ length: IN_FLIGHT + QUEUED }, (_, index) => `to-${index}@dest.test`);
  for (const recipient of recipients) {
    await begin(sender, recipient);
    assert.match(await sender.content(`${HEADER}Hello\r\n`), /^250 2\.6\.0 /);
  }
  await held.untilWaiting(IN_FLIGHT);
  await using slow = await greeted(relay);
  await begin(slow, 'slow@dest.test');
  slow.send(HEADER);

  relay.terminate();
  const terminatedMs = performance.now();
  await stopping(relay);
  // RFC 5321 3.8: a session with nothing in hand is told so.
  assert.match(await sender.reply(), /^421 4\.3\.2 /);
  assert.equal(await sender.ended(), '');
  await assert.rejects(SmtpClient.connect(relay.port), { code: 'ECONNREFUSED' });
  assert.match(await slow.content('Hello\r\n'), /^250 2\.6\.0 queued as /);
  assert.match(await slow.reply(), /^421 4\.3\.2 /);
  assert.equal(await slow.ended(), '');
  held.releaseOne();
  await relay.logged('one is delivered', isDelivered);
  held.release();
  assert.equal(await relay.ended(), 0);
  assert.ok(performance.now() - terminatedMs < GRACE_MS, 'it ends when all is done, not when its time is over');
  assert.equal(held.begun, IN_FLIGHT, 'nothing is begun while it stops');
  assert.equal(relay.lines().filter(isDelivered).length, IN_FLIGHT, 'all that was begun is recorded');
  assert.equal(destination.messages.length, IN_FLIGHT);

  await relay.run();
  await relay.untilEmpty();
  assert.deepEqual(held.arrived(), Object.fromEntries([...recipients, 'slow@dest.test'].map((to) => [to, 1])));
});

test('on SIGTERM a transaction that was begun comes to its end, and one that does not go on is given up', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  await using quick = await greeted(relay);
  await quick.talk(['MAIL FROM:<app@example.test>', '250 ']);
  await using silent = await greeted(relay);
  await silent.talk(['MAIL FROM:<app@example.test>', '250 ']);

  relay.terminate();
  await stopping(relay);
  await quick.talk(['RCPT TO:<quick@dest.test>', '250 '], ['DATA', '354 ']);
  assert.match(await quick.content(`${HEADER}Hello\r\n`), /^250 2\.6\.0 queued as /);
  assert.match(await quick.reply(), /^421 4\.3\.2 /);
  assert.match(await silent.reply(), /^421 4\.3\.2 /);
  assert.equal(await relay.ended(), 0);
  await relay.run();
  await relay.untilEmpty();
  assert.deepEqual(
    destination.messages.flatMap(({ to }) => to),
    ['quick@dest.test'],
  );
});

test('a pod that is told to stop is unready at once, and takes what comes until nothing comes any more', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  await relay.kill();
  await relay.run([], ['--accept-after-stop', `${ACCEPT_MS}ms`]);
  const ready = async () => (await fetch(`http://127.0.0.1:${relay.monitoring}/readyz`)).status;
  assert.equal(await ready(), 200);
  let last = false;
  let sent = 0;
  // Each of them connects for one message, and never tries anything again.
  const clients = Array.from({ length: 10 }, async (_, client) => {
    while (!last) {
      await using session = await greeted(relay);
      await begin(session, `${client}@dest.test`);
      assert.match(await session.content(`${HEADER}Hello\r\n`), /^250 2\.6\.0 /);
      await session.talk(['QUIT', '221 ']);
      sent += 1;
    }
  });
  const all = Promise.all(clients);
  await using idle = await greeted(relay);

  relay.terminate();
  const terminatedMs = performance.now();
  await relay.logged('it is about to stop', ({ message }) => message?.startsWith('relay is about to stop') ?? false);
  assert.equal(await ready(), 503);
  const before = sent;
  // As those who send connections here hear of it: somewhat later, and within the time that it grants.
  await Promise.race([all, pause(ACCEPT_MS / 2)]);
  last = true;
  await all;
  assert.ok(sent > before + clients.length, 'mail was taken after SIGTERM');
  assert.match(await idle.say('NOOP'), /^250 /);
  assert.match(await idle.reply(), /^421 4\.3\.2 /);
  assert.ok(performance.now() - terminatedMs >= ACCEPT_MS, 'no session is ended before');
  assert.equal(await relay.ended(), 0);
  assert.ok(performance.now() - terminatedMs < ACCEPT_MS + GRACE_MS);
  await relay.run();
  await relay.untilEmpty();
  assert.equal(destination.messages.length, sent, 'whatever was answered 250 arrives once');
});

test('a client and a destination that are silent hold up the end of a relay no longer than its grace time', async () => {
  await using destination = await Destination.start();
  const held = new Holding(destination);
  await using relay = await RelayProcess.start(destination.port);
  await using client = await greeted(relay);
  await begin(client, 'taken@dest.test');
  assert.match(await client.content(`${HEADER}Hello\r\n`), /^250 2\.6\.0 /);
  await held.untilWaiting(1);
  await begin(client, 'half@dest.test');
  client.send(HEADER);

  relay.terminate();
  const terminatedMs = performance.now();
  assert.equal(await relay.ended(), 0);
  const tookMs = performance.now() - terminatedMs;
  assert.ok(tookMs >= GRACE_MS - 100 && tookMs < KILL_MS, `it took ${tookMs} ms`);
  assert.equal(await client.ended(), '', 'what was not taken is not answered 250');

  // The relay never heard that it was taken, and twice is better than not at all (RFC 1047).
  held.release();
  await destination.received(1);
  await relay.run();
  await relay.untilEmpty();
  assert.deepEqual(held.arrived(), { 'taken@dest.test': 2 });
});
