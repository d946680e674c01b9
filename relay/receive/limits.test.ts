/** How many sessions a replica has, and how long they last. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import test from 'node:test';
import { CONFIG, Receiving } from '../../test/harness/receiving.ts';
import { SmtpClient } from '../../test/harness/smtp-client.ts';

type Limits = typeof CONFIG.settings.limits;

/** `once` would reject where the server resets the connection, as it may. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });

const start = (limits: Partial<Limits>) =>
  Receiving.start({
    ...CONFIG,
    settings: { ...CONFIG.settings, limits: { ...CONFIG.settings.limits, ...limits } },
  });

/** Until the server has seen that a client left; the greeting tells whether it counts no more. */
async function greeted(port: number, from?: string): Promise<SmtpClient> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const client = await SmtpClient.connect(port, from === undefined ? {} : { from });
    if (client.greeting.startsWith('220 ')) return client;
    assert.ok(Date.now() < deadline, client.greeting);
    client.drop();
  }
}

test('a client has so many sessions, over all listeners, and another client its own', async () => {
  await using relay = await start({ connectionsPerClient: 2 });
  await using first = await SmtpClient.connect(relay.port('local'));
  await using second = await SmtpClient.connect(relay.port('submission'));
  await using third = await SmtpClient.connect(relay.port('submissions'), { implicitTls: true });
  assert.equal(third.greeting, '421 4.7.0 too many connections from your address, close some');
  assert.equal(await third.ended(), '');
  await using other = await SmtpClient.connect(relay.port('local'), { from: '127.0.0.2' });
  for (const client of [first, second, other]) assert.equal(client.greeting, '220 relay.example.test ESMTP Chasqui');
  assert.deepEqual(relay.rejections(), ['connect too_many_connections_of_client 421 4.7.0']);
  await second.talk(['QUIT', '221 ']);
  await second.ended();
  second.drop();
  await using next = await greeted(relay.port('local'));
  await next.talk(['NOOP', '250 ']);
});

test('a replica has so many sessions of all clients', async () => {
  await using relay = await start({ connections: 2 });
  await using first = await SmtpClient.connect(relay.port('local'));
  await using second = await SmtpClient.connect(relay.port('local'), { from: '127.0.0.2' });
  await using third = await SmtpClient.connect(relay.port('local'), { from: '127.0.0.3' });
  assert.equal(third.greeting, '421 4.3.2 too many connections, try again');
  first.drop();
  await using next = await greeted(relay.port('local'), '127.0.0.3');
  for (const client of [second, next]) await client.talk(['NOOP', '250 ']);
});

test('sessions that end in whatever way count no more', async () => {
  await using relay = await start({ connectionsPerClient: 3 });
  for (let round = 0; round < 3; round += 1) {
    (await greeted(relay.port('local'))).drop();
    const quits = await greeted(relay.port('local'));
    await quits.talk(['QUIT', '221 ']);
    await quits.ended();
    const fails = await greeted(relay.port('submission'));
    await fails.talk(['EHLO client.test', '250-'], ['STARTTLS', '220 ']);
    fails.send('no handshake\r\n');
    await fails.ended();
    const sends = await greeted(relay.port('local'));
    await sends.talk(['EHLO x', '250-'], ['MAIL FROM:<a@example.test>', '250 '], ['RCPT TO:<b@dest.test>', '250 ']);
    await sends.talk(['DATA', '354 ']);
    sends.drop();
  }
  const all = [];
  for (let n = 0; n < 3; n += 1) all.push(await greeted(relay.port('local')));
  await using fourth = await SmtpClient.connect(relay.port('local'));
  assert.match(fourth.greeting, /^421 4\.7\.0 /);
  for (const client of all) client.drop();
});

test('handshakes that do not come to an end are bounded, too', async () => {
  await using relay = await start({ connections: 3 });
  const sockets = Array.from({ length: 10 }, () => connect({ host: '127.0.0.1', port: relay.port('submissions') }));
  let ended = 0;
  for (const socket of sockets) {
    socket.on('error', () => {});
    socket.resume();
    socket.on('close', () => {
      ended += 1;
    });
  }
  while (ended < 7) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(sockets.filter((socket) => !socket.destroyed).length, 3);
  for (const socket of sockets) socket.destroy();
});

const TRANSACTION = `
  C: MAIL FROM:<app@example.test>
  S: 250 2.1.0
  C: RCPT TO:<ana@dest.test>
  S: 250 2.1.5
  C: DATA
  S: 354`;

test('a session has so many messages, and ends at the MAIL of another', async () => {
  await using relay = await start({ messagesPerSession: 2 });
  await using client = await relay.session('local');
  for (let n = 0; n < 2; n += 1) {
    await client.play(TRANSACTION);
    assert.match(await client.content('From: app@example.test\r\n\r\nhello\r\n'), /^250 /);
  }
  await client.play('C: RSET\nS: 250\nC: MAIL FROM:<app@example.test>\nS: 421 4.7.0\nS: (end)');
  assert.equal(relay.accepted.length, 2);
  assert.deepEqual(relay.rejections(), ['mail session_used_up 421 4.7.0']);
});

test('a message that is refused is none of those of the session', async () => {
  await using relay = await start({ messagesPerSession: 1 });
  await using client = await relay.session('local');
  await client.play(TRANSACTION);
  assert.match(await client.content('From: boss@evil.test\r\n\r\nhello\r\n'), /^550 /);
  await client.play(TRANSACTION);
  assert.match(await client.content('From: app@example.test\r\n\r\nhello\r\n'), /^250 /);
});

test('a session has so many recipients, of all its messages', async () => {
  await using relay = await start({ recipientsPerSession: 3, recipients: 5 });
  await using client = await relay.session('local');
  await client.play(TRANSACTION);
  assert.match(await client.content('From: app@example.test\r\n\r\nhello\r\n'), /^250 /);
  await client.play(`
    C: MAIL FROM:<app@example.test>
    S: 250 2.1.0
    C: RCPT TO:<ana@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<bob@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<cem@dest.test>
    S: 452 4.5.3
    C: RCPT TO:<bob@dest.test>
    S: 250 2.1.5
    C: DATA
    S: 354`);
  assert.match(await client.content('From: app@example.test\r\n\r\nhello\r\n'), /^250 /);
  await client.play('C: MAIL FROM:<app@example.test>\nS: 421 4.7.0\nS: (end)');
  assert.deepEqual(
    relay.accepted.map(({ deliveries }) => deliveries.flatMap(({ recipients }) => recipients).length),
    [1, 2],
  );
});

test('limits hold from the moment they change, for sessions that begin', async () => {
  await using relay = await start({});
  await using first = await SmtpClient.connect(relay.port('local'));
  relay.limits({ connections: 1 });
  await using second = await SmtpClient.connect(relay.port('local'));
  assert.match(second.greeting, /^421 4\.3\.2 /);
  await first.talk(['NOOP', '250 ']);
});

/** Calls until it is disposed of. */
const drip = (call: () => void): Disposable => {
  const timer = setInterval(call, 50);
  return { [Symbol.dispose]: () => clearInterval(timer) };
};

test('a client that says nothing for idleTimeout is told so, before and after commands and within content', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using silent = await SmtpClient.connect(relay.port('local'));
  await using talked = await relay.session('local');
  await using sending = await relay.session('local');
  await sending.play(TRANSACTION);
  sending.send('From: app@example.test\r\n');
  for (const client of [silent, talked, sending]) await client.play('S: 421 4.4.2\nS: (end)');
  assert.deepEqual(relay.accepted, []);
});

test('a command that drips in gains no time by its bytes', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using client = await relay.session('local');
  using _ = drip(() => client.send('N'));
  await client.play('S: 421 4.4.2\nS: (end)');
});

test('a response to AUTH that drips in gains no time by its bytes', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using client = await SmtpClient.connect(relay.port('submissions'), { implicitTls: true });
  await client.talk(['EHLO x', '250-'], ['AUTH PLAIN', '334']);
  using _ = drip(() => client.send('A'));
  await client.play('S: 421 4.4.2\nS: (end)');
});

test('content that drips in gains little time by its bytes', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using client = await relay.session('local');
  await client.play(TRANSACTION);
  using _ = drip(() => client.send('\r\n'));
  await client.play('S: 421 4.4.2\nS: (end)');
  assert.deepEqual(relay.accepted, []);
});

test('content at a slow but honest pace may take longer than idleTimeout', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using client = await relay.session('local');
  await client.play(`${TRANSACTION}`);
  client.send('From: app@example.test\r\n\r\n');
  const until = performance.now() + 4_000;
  while (performance.now() < until) {
    client.send(`${'x'.repeat(98)}\r\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.match(await client.content('end\r\n'), /^250 /);
});

test('a handshake that drips in gains no time by its bytes', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000 });
  await using upgrading = await SmtpClient.connect(relay.port('submission'));
  await upgrading.talk(['EHLO x', '250-'], ['STARTTLS', '220 ']);
  const implicit = connect({ host: '127.0.0.1', port: relay.port('submissions') });
  implicit.on('error', () => {});
  const hello = Buffer.from('160301020001', 'hex');
  let at = 0;
  using _ = drip(() => {
    const byte = hello.subarray(at, at + 1);
    at += 1;
    if (implicit.writable) implicit.write(byte.length > 0 ? byte : '\0');
    upgrading.send(byte.length > 0 ? byte.toString('latin1') : '\0');
  });
  if (!implicit.resume().closed) await closed(implicit);
  assert.equal(await upgrading.ended(), '');
});

test('a handshake that the client leaves is over', async () => {
  await using relay = await start({});
  const socket = connect({ host: '127.0.0.1', port: relay.port('submissions') });
  socket.resume().end(Buffer.from('160301', 'hex'));
  await closed(socket);
});

test('a client that reads no replies is cut off after idleTimeout', async () => {
  await using relay = await start({ idleTimeoutMs: 2_000, connectionsPerClient: 1 });
  const socket = connect({ host: '127.0.0.1', port: relay.port('local') });
  socket.on('error', () => {});
  await once(socket, 'connect');
  // More replies than two sockets hold between them.
  socket.pause().write('EHLO x\r\n'.repeat(400_000));
  await using other = await SmtpClient.connect(relay.port('local'));
  assert.match(other.greeting, /^421 4\.7\.0 /);
  await using next = await greeted(relay.port('local'));
  await next.talk(['NOOP', '250 ']);
  socket.destroy();
});

test('a session ends with 421 when it has lasted for sessionTimeout, however busy it is', async () => {
  await using relay = await start({ sessionTimeoutMs: 500 });
  await using idle = await SmtpClient.connect(relay.port('local'));
  await using busy = await SmtpClient.connect(relay.port('local'));
  await idle.play('S: 421 4.4.2\nS: (end)');
  let reply = '250 ';
  while (reply.startsWith('250 ')) reply = await busy.say('NOOP');
  assert.equal(reply, '421 4.4.2 this session has lasted too long, connect again');
});

test('the message that is being sent at the end of a session is taken', async () => {
  await using relay = await start({ sessionTimeoutMs: 3_000 });
  await using client = await SmtpClient.connect(relay.port('local'));
  await client.talk(['EHLO x', '250-'], ['MAIL FROM:<a@example.test>', '250 '], ['RCPT TO:<b@dest.test>', '250 ']);
  await client.talk(['DATA', '354 ']);
  client.send('From: a@example.test\r\n\r\nfirst\r\n');
  // Another session that began later tells that the time of this one is over.
  await using later = await SmtpClient.connect(relay.port('local'));
  await later.play('S: 421 4.4.2\nS: (end)');
  assert.match(await client.content('second\r\n'), /^250 2\.6\.0 /);
  await client.play('S: 421 4.4.2\nS: (end)');
  assert.match(relay.content(), /first\r\nsecond\r\n$/);
});

test('a message that is drawn out for as long again is cut', async () => {
  await using relay = await start({ sessionTimeoutMs: 1_500 });
  await using client = await SmtpClient.connect(relay.port('local'));
  await client.talk(['EHLO x', '250-'], ['MAIL FROM:<a@example.test>', '250 '], ['RCPT TO:<b@dest.test>', '250 ']);
  await client.talk(['DATA', '354 ']);
  const drip = setInterval(() => client.send('x'), 50);
  await client.ended();
  clearInterval(drip);
  assert.deepEqual(relay.accepted, []);
});
