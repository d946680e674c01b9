/** What happens on the wire: TLS, pipelining, clients that do not listen, and how sessions end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Receiving } from '../../test/harness/receiving.ts';
import { SmtpClient } from '../../test/harness/smtp-client.ts';

const BEGUN = `
  C: MAIL FROM:<app@example.test>
  S: 250 2.1.0
  C: RCPT TO:<ana@dest.test>
  S: 250 2.1.5`;
const MESSAGE = 'From: app@example.test\r\n\r\nhello\r\n';

/** Polls, since what is waited for is seen from outside only. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, 'it did not come true');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const [what, injected] of [
  ['in the packet of STARTTLS', 'STARTTLS\r\nRSET\r\nMAIL FROM:<app@example.test>\r\n'],
  ['without an end of line', 'STARTTLS\r\nRSET'],
  ['more than run at once', `STARTTLS\r\n${'NOOP\r\n'.repeat(500)}`],
] as const) {
  // RFC 3207 4.2, and CVE-2011-0411: else whoever is on the wire puts words into the client's session.
  test(`commands in clear ${what} are dropped`, async () => {
    await using relay = await Receiving.start();
    const client = await SmtpClient.connect(relay.port('submission'));
    await client.talk(['EHLO clear.test', '250-']);
    client.send(injected);
    assert.match(await client.reply(), /^220 2\.0\.0 /);
    client.socket.removeAllListeners();
    const secure = connectTls({ socket: client.socket, rejectUnauthorized: false });
    await once(secure, 'secureConnect');
    let heard = '';
    secure.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
    });
    secure.write('QUIT\r\n');
    await once(secure, 'end');
    assert.equal(heard, '221 2.0.0 good bye\r\n');
    secure.destroy();
  });
}

test('what was said before STARTTLS counts no more after it', async () => {
  await using relay = await Receiving.start();
  await using client = await SmtpClient.connect(relay.port('local'));
  await client.talk(['EHLO client.test', '250-']);
  await client.play(BEGUN);
  client.send('STARTTLS\r\n');
  assert.match(await client.reply(), /^220 /);
  const secure = connectTls({ socket: client.socket, rejectUnauthorized: false });
  await once(secure, 'secureConnect');
  secure.write('DATA\r\nAUTH LOGIN\r\n');
  let heard = '';
  secure.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await until(() => heard.split('\r\n').length > 2);
  assert.match(heard, /^503 5\.5\.1 send MAIL first\r\n503 5\.5\.1 send EHLO first\r\n$/);
  secure.destroy();
});

test('a handshake that fails ends the connection and nothing else', async () => {
  await using relay = await Receiving.start();
  await using client = await SmtpClient.connect(relay.port('submission'));
  await client.talk(['EHLO client.test', '250-'], ['STARTTLS', '220 ']);
  client.send('NOOP\r\n');
  await client.ended();
  await using next = await relay.session();
  await next.talk(['NOOP', '250 ']);
});

test('replies to pipelined commands leave in one write', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  const before = client.pieces.length;
  client.send('MAIL FROM:<app@example.test>\r\nRCPT TO:<a@routed.test>\r\nRCPT TO:<b@routed.test>\r\nDATA\r\n');
  for (const expected of ['250 ', '250 ', '250 ', '354 ']) assert.ok((await client.reply()).startsWith(expected));
  assert.equal(client.pieces.length - before, 1, JSON.stringify(client.pieces.slice(before)));
});

test('a whole session may come in one write, messages and all', async () => {
  await using relay = await Receiving.start();
  await using client = await SmtpClient.connect(relay.port('local'));
  const transaction = `MAIL FROM:<app@example.test>\r\nRCPT TO:<ana@null-mx.test>\r\nRCPT TO:<ana@dest.test>\r\nDATA\r\n${MESSAGE}.\r\n`;
  client.send(`EHLO client.test\r\n${transaction}${transaction}QUIT\r\n`);
  const codes = [];
  for (let reply = 0; reply < 12; reply += 1) codes.push((await client.reply()).slice(0, 3));
  const each = ['250', '556', '250', '354', '250'];
  assert.deepEqual(codes, ['250', ...each, ...each, '221']);
  assert.equal(await client.ended(), '');
  assert.equal(relay.accepted.length, 2);
});

test('a client that ends its side behind its last command is answered in full', async () => {
  await using relay = await Receiving.start();
  const client = await SmtpClient.connect(relay.port('local'));
  const transaction = `MAIL FROM:<app@example.test>\r\nRCPT TO:<ana@dest.test>\r\nDATA\r\n${MESSAGE}.\r\n`;
  client.socket.end(`EHLO client.test\r\n${transaction}`);
  for (const expected of ['250-', '250 ', '250 ', '354 ', '250 2.6.0 ']) {
    assert.ok((await client.reply()).startsWith(expected));
  }
  assert.equal(await client.ended(), '');
  assert.equal(relay.accepted.length, 1);
});

test('nothing is done after QUIT', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  client.send(`QUIT\r\nMAIL FROM:<app@example.test>\r\nRCPT TO:<ana@routed.test>\r\nDATA\r\n${MESSAGE}.\r\n`);
  assert.match(await client.reply(), /^221 /);
  assert.equal(await client.ended(), '');
  // Asked of the spool: it answers after whatever it was given before.
  assert.equal((await relay.spool.stats()).messages, 0);
});

test('a client that does not read replies is made to wait, and is answered in full when it does', async () => {
  await using relay = await Receiving.start();
  const { hostname } = relay.config.settings;
  const hello = `250-${hostname}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 100000\r\n250 STARTTLS\r\n`;
  // Each refusal is told to the observer: so many hundreds of commands have run.
  const round = `${'EHLO x\r\n'.repeat(99)}EXPN\r\n`;
  const roundReplies = `${hello.repeat(99)}502 5.5.1 command not implemented\r\n`;
  // More replies than two sockets hold between them, which is some 10 MiB.
  const rounds = 4_000;
  const socket = connect({ host: '127.0.0.1', port: relay.port('local') });
  await once(socket, 'connect');
  socket.write(round.repeat(rounds));
  let run = -1;
  while (run !== relay.rejections().length) {
    run = relay.rejections().length;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  assert.ok(run > 0 && run < rounds / 2, `${run} of ${rounds} rounds have run`);
  let heard = 0;
  let last = '';
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.length;
    last = chunk.toString();
  });
  const asked = `220 ${hostname} ESMTP Chasqui\r\n`.length + rounds * roundReplies.length;
  await until(() => heard >= asked);
  assert.equal(heard, asked);
  assert.ok(last.endsWith('502 5.5.1 command not implemented\r\n'));
  socket.destroy();
});

test('a stop ends idle sessions with 421, and takes the message that is being sent', async () => {
  await using relay = await Receiving.start();
  await using idle = await relay.session();
  await using silent = await SmtpClient.connect(relay.port('local'));
  await using sending = await relay.session('local');
  await sending.play(`${BEGUN}\nC: DATA\nS: 354`);
  sending.send('From: app@example.test\r\n\r\nfirst half\r\n');
  const stopped = relay.stop();
  for (const client of [idle, silent]) await client.play('S: 421 4.3.2\nS: (end)');
  assert.match(await sending.content('second half\r\n'), /^250 2\.6\.0 /);
  await sending.play('S: 421 4.3.2\nS: (end)');
  await stopped;
  assert.match(relay.content(), /first half\r\nsecond half\r\n$/);
});

test('a stop begins no new message in a session that is in a transaction', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(BEGUN);
  const stopped = relay.stop();
  await client.play('S: 421 4.3.2\nS: (end)');
  await stopped;
});

test('a session that outlives the grace time of a stop is cut', async () => {
  await using relay = await Receiving.start();
  await using client = await relay.session('local');
  await client.play(`${BEGUN}\nC: DATA\nS: 354`);
  client.send('From: app@example.test\r\n\r\nnever ends\r\n');
  await relay.stop(200);
  await client.ended();
  assert.equal(relay.accepted.length, 0);
});

test('a new idleTimeout holds for sessions from then on', async () => {
  await using relay = await Receiving.start();
  relay.limits({ idleTimeoutMs: 500 });
  await using client = await SmtpClient.connect(relay.port('local'));
  await client.play('S: 421 4.4.2\nS: (end)');
});
