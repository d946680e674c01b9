/** Clients by the thousand that connect and say a byte a second: they keep nobody out. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** Longer than anything here takes on a busy machine; `idleTimeout`, which would rescue all, is 5 minutes. */
const WAIT_MS = 60_000;
const AT_ONCE = 50;

/** Connections that drip. */
class Drip implements Disposable {
  readonly #sockets: Socket[] = [];
  readonly greetings: string[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    let turn = 0;
    this.#timer = setInterval(() => {
      turn += 1;
      const byte = 'NOOP'[turn % 4] ?? '';
      for (const socket of this.#sockets) if (socket.writable) socket.write(byte);
    }, 1_000);
  }

  get open(): number {
    return this.#sockets.filter((socket) => !socket.closed && !socket.readableEnded).length;
  }

  /** @param first what each says at once */
  async add(count: number, port: number, from: string, first = '', greeted = true): Promise<void> {
    for (let left = count; left > 0; left -= AT_ONCE) {
      const some = Array.from({ length: Math.min(left, AT_ONCE) }, () => this.#one(port, from, first, greeted));
      await Promise.all(some);
    }
  }

  async #one(port: number, from: string, first: string, greeted: boolean): Promise<void> {
    const socket = connect({ host: '127.0.0.1', port, localAddress: from });
    socket.on('error', () => {});
    this.#sockets.push(socket);
    await once(socket, 'connect', { signal: AbortSignal.timeout(WAIT_MS) });
    socket.write(first);
    const heard = new Promise<void>((resolve) => {
      socket.once('data', (chunk: Buffer) => {
        this.greetings.push(chunk.toString('latin1', 0, 9));
        resolve();
      });
      socket.once('close', () => resolve());
    });
    socket.resume();
    if (greeted) await heard;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}

let destination: Destination;
let standalone: Standalone;
let clear: number;
let tls: number;
before(async () => {
  destination = await Destination.start();
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  [clear, tls] = [port, submission];
  standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }).replace(
      /name: submission, protocol: Submission, .*\}/,
      `name: submissions, protocol: Submissions, port: ${submission}, auth: {exemptNetworks: [127.0.0.0/8]}}`,
    ),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
});
after(async () => {
  await standalone[Symbol.asyncDispose]();
  await destination[Symbol.asyncDispose]();
});

const BEGUN = 'EHLO drip.test\r\nMAIL FROM:<app@example.test>\r\nRCPT TO:<drip@dest.test>\r\nDATA\r\n';

/** Sends a message as a client that tries again, and tells how many times it had to connect. */
async function sends(port: number, implicitTls = false): Promise<number> {
  const deadline = performance.now() + WAIT_MS;
  for (let tries = 1; ; tries += 1) {
    // One that is refused may be cut off before it has read why.
    const client = await SmtpClient.connect(port, { from: '127.0.9.9', implicitTls }).catch(() => undefined);
    if (client?.greeting.startsWith('220 ')) {
      await client.talk(['EHLO client.test', '250-'], ['MAIL FROM:<app@example.test>', '250 ']);
      await client.talk(['RCPT TO:<ana@dest.test>', '250 '], ['DATA', '354 ']);
      assert.match(await client.content('From: app@example.test\r\n\r\nhello\r\n'), /^250 /);
      await client.talk(['QUIT', '221 ']);
      client.drop();
      return tries;
    }
    client?.drop();
    assert.ok(performance.now() < deadline, `refused ${tries} times: ${client?.greeting}`);
    await pause(100);
  }
}

test('a thousand connections of one client take its own room and no other', async () => {
  using drip = new Drip();
  await drip.add(1_000, clear, '127.0.1.1', BEGUN);
  assert.equal(drip.greetings.filter((greeting) => greeting === '220 relay').length, 100);
  assert.equal(drip.greetings.filter((greeting) => greeting === '421 4.7.0').length, 900);
  assert.equal(await sends(clear), 1);
  assert.equal(await sends(tls, true), 1);
});

test('a thousand handshakes that do not come to an end keep nobody from theirs', async () => {
  using drip = new Drip();
  // A record of 512 bytes, which would take minutes.
  const record = '\x16\x03\x01\x02\x00';
  for (let n = 0; n < 15; n += 1) await drip.add(100, tls, `127.0.2.${n + 1}`, record, false);
  assert.equal(await sends(tls, true), 1);
  assert.equal(await sends(clear), 1);
  assert.ok(drip.open >= 900, `${drip.open} are open`);
});

test('where all sessions of a replica are taken by those that drip, they give way one by one', async () => {
  using drip = new Drip();
  for (let n = 0; n < 10; n += 1) await drip.add(100, clear, `127.0.3.${n + 1}`, n % 2 === 0 ? BEGUN : 'NOO');
  await drip.add(100, clear, '127.0.3.11');
  const before = drip.open;
  assert.ok(before >= 900, `${before} are open`);
  await sends(clear);
  await sends(tls, true);
  for (let n = 0; n < 5; n += 1) await sends(clear);
  // It is not that they had been sent away.
  assert.ok(drip.open >= before - 200, `${drip.open} of ${before} are open`);
});
