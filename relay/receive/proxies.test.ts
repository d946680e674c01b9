/** Load balancers that say whom they connect for: 127.0.0.9 is one of them, all others are none. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { CONFIG, PASSWORD, Receiving } from '../../test/harness/receiving.ts';
import { base64 } from '../../test/harness/smtp-client.ts';

/** `once` would reject where the server resets the connection, as it may. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });

const PROXY = '127.0.0.9';
const V1 = 'PROXY TCP4 192.0.2.1 198.51.100.1 54321 587\r\n';
const V2 = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336401d431024b', 'hex');
const LOCAL = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');

const settings = (idleTimeoutMs = 60_000, connectionsPerClient = 100): typeof CONFIG.settings => ({
  ...CONFIG.settings,
  listeners: CONFIG.settings.listeners.map((listener) => ({
    ...listener,
    // The proxy itself, and those it speaks for.
    exemptNetworks: listener.name === 'local' ? [`${PROXY}/32`, '192.0.2.0/24'] : [],
    proxyNetworks: [`${PROXY}/32`],
  })),
  limits: { ...CONFIG.settings.limits, idleTimeoutMs, connectionsPerClient },
});

let relay: Receiving;
before(async () => {
  relay = await Receiving.start({ ...CONFIG, settings: settings() });
});
after(() => relay[Symbol.asyncDispose]());

/** Everything that a peer hears, until the connection ends. */
async function heard(name: string, from: string, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = await opened(relay, name, from);
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (!socket.closed) await closed(socket);
  return text;
}

async function opened(to: Receiving, name: string, from: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: to.port(name), localAddress: from });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

const MAIL =
  'EHLO client.test\r\nMAIL FROM:<app@example.test>\r\nRCPT TO:<ana@routed.test>\r\nDATA\r\n' +
  'From: app@example.test\r\n\r\nhello\r\n.\r\nQUIT\r\n';

for (const [what, header] of [
  ['v1', V1],
  ['v2', V2],
] as const) {
  test(`the address that a proxy tells by ${what} is the client's: for exemptions, log and trace`, async () => {
    const count = relay.accepted.length;
    assert.match(await heard('local', PROXY, header, MAIL), /^220 .*\r\n250 2\.6\.0 .*221 /s);
    assert.equal(relay.accepted.length, count + 1);
    assert.match(relay.content(), /^Received: from client\.test \(\[192\.0\.2\.1\]\)/);
    assert.equal(relay.messageEvents.at(-1)?.event, 'received');
    const event = relay.messageEvents.at(-1);
    assert.equal(event?.event === 'received' && event.envelope.client?.address, '192.0.2.1');
    assert.equal(event?.event === 'received' && event.envelope.network, '192.0.2.0/24');
  });

  test(`a header of ${what} may come byte by byte, or together with all that follows`, async () => {
    const bytes = [...Buffer.from(header)].map((byte) => Buffer.from([byte]));
    assert.match(await heard('local', PROXY, ...bytes, 'QUIT\r\n'), /^220 .*221 /s);
    assert.match(await heard('local', PROXY, Buffer.concat([Buffer.from(header), Buffer.from(MAIL)])), /250 2\.6\.0 /);
  });

  test(`a header of ${what} comes before TLS where that comes first`, async () => {
    const socket = await opened(relay, 'submissions', PROXY);
    socket.write(header);
    const secure = connectTls({ socket, rejectUnauthorized: false });
    await once(secure, 'secureConnect');
    let text = '';
    secure.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    secure.write(`EHLO c\r\nAUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}\r\n${MAIL}`);
    await closed(secure);
    assert.match(text, /^220 .*235 2\.7\.0 .*250 2\.6\.0 /s);
    assert.match(relay.content(), /^Received: from client\.test \(\[192\.0\.2\.1\]\)/);
  });

  test(`a header of ${what} of a peer that is no proxy gives it no address, and ends its session`, async () => {
    const text = await heard('local', '127.0.0.3', header, MAIL);
    assert.match(text, /^220 .*421 4\.7\.0 [^\r]*\r\n$/s);
    assert.doesNotMatch(text, /^250/m);
    const refused = relay.sessionEvents.at(-1);
    assert.equal(refused?.event === 'rejected' && refused.client, '127.0.0.3');
  });

  test(`a header of ${what} of a peer that is no proxy is no handshake`, async () => {
    assert.doesNotMatch(await heard('submissions', '127.0.0.3', header), /220/);
  });
}

test('a proxy that speaks for itself, such as for a health check, has its own address and what that may do', async () => {
  assert.match(await heard('local', PROXY, LOCAL, MAIL), /250 2\.6\.0 /);
  assert.match(relay.content(), /\(\[127\.0\.0\.9\]\)/);
});

for (const [what, header] of [
  ['v1 UNKNOWN', 'PROXY UNKNOWN\r\n'],
  ['v2 UNSPEC', Buffer.from('0d0a0d0a000d0a515549540a21000000', 'hex')],
] as const) {
  test(`whom a proxy connects for without an address (${what}) is served, and exempt from nothing`, async () => {
    assert.match(await heard('local', PROXY, header, 'EHLO c\r\nQUIT\r\n'), /^220 .*\r\n250 .*221 /s);
    const text = await heard('local', PROXY, header, MAIL);
    assert.match(text, /\r\n530 5\.7\.0 /);
    assert.doesNotMatch(text, /250 2\.[156]\.0 /);
  });
}

test('a user who may send from some networks may not by a proxy that does not say from where', async () => {
  const users = new Map([...CONFIG.users].map(([name, user]) => [name, { ...user, allowedNetworks: [`${PROXY}/32`] }]));
  await using narrow = await Receiving.start({ ...CONFIG, users, settings: settings() });
  const answers = async (header: string | Buffer): Promise<string> => {
    const socket = await opened(narrow, 'submissions', PROXY);
    socket.write(header);
    const secure = connectTls({ socket, rejectUnauthorized: false });
    await once(secure, 'secureConnect');
    let text = '';
    secure.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    secure.write(`EHLO c\r\nAUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}\r\n${MAIL}`);
    await closed(secure);
    return text;
  };
  assert.match(await answers(LOCAL), /250 2\.6\.0 /);
  assert.match(await answers('PROXY UNKNOWN\r\n'), /550 5\.7\.1 /);
});

test('a peer that is no proxy needs no header', async () => {
  assert.match(await heard('local', '127.0.0.3', 'QUIT\r\n'), /^220 .*221 /s);
});

test('a proxy without a header that can be read hears nothing', async () => {
  for (const garbage of ['EHLO client.test\r\n', 'PROXY TCP4 192.0.2.1\r\n', V1.replace('\r', ''), 'x'.repeat(500)]) {
    assert.equal(await heard('local', PROXY, garbage), '', garbage);
    assert.equal(await heard('submissions', PROXY, garbage), '', garbage);
  }
  assert.match(relay.log.at(-1) ?? '', /127\.0\.0\.9 sent no PROXY header that can be read/);
});

test('a proxy that leaves within its header is gone', async () => {
  const socket = await opened(relay, 'local', PROXY);
  socket.resume().end(V1.slice(0, 10));
  await closed(socket);
});

test('a proxy has so much time for its header, whatever drips in', async () => {
  await using impatient = await Receiving.start({ ...CONFIG, settings: settings(500) });
  const socket = await opened(impatient, 'local', PROXY);
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const bytes = Buffer.from(V1.slice(0, -2)).values();
  const drip = setInterval(() => socket.write(Buffer.from([bytes.next().value ?? 0x20])), 100);
  await closed(socket);
  clearInterval(drip);
  assert.equal(text, '');
});

test('the limit of a client is that of whom the proxy speaks for', async () => {
  await using small = await Receiving.start({ ...CONFIG, settings: settings(60_000, 1) });
  const greeting = async (client: string): Promise<string> => {
    const socket = await opened(small, 'local', PROXY);
    socket.write(V1.replace('192.0.2.1', client));
    const [chunk] = await once(socket, 'data', { signal: AbortSignal.timeout(20_000) });
    return String(chunk);
  };
  assert.match(await greeting('192.0.2.1'), /^220 /);
  assert.match(await greeting('192.0.2.1'), /^421 4\.7\.0 /);
  assert.match(await greeting('192.0.2.2'), /^220 /);
});

test('proxies come and go with the config, for connections from then on', async () => {
  await using changing = await Receiving.start();
  const plain = await opened(changing, 'local', PROXY);
  const [greeting] = await once(plain, 'data', { signal: AbortSignal.timeout(20_000) });
  assert.match(String(greeting), /^220 /);
  changing.change({ settings: settings() });
  const proxied = await opened(changing, 'local', PROXY);
  proxied.write('PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\n');
  await closed(proxied.resume());
  const refused = changing.sessionEvents.at(-1);
  assert.equal(refused?.event === 'rejected' && refused.client, '192.0.2.7');
  plain.destroy();
});
