/** A load balancer in front of a relay, by manifest: whom it connects for is whom the relay knows. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** `once` would reject where the server resets the connection, as it may. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });

const HEADER = 'PROXY TCP4 192.0.2.1 198.51.100.1 54321 587\r\n';
const MAIL =
  'EHLO client.test\r\nMAIL FROM:<app@example.test>\r\nRCPT TO:<ana@dest.test>\r\nDATA\r\n' +
  'From: app@example.test\r\n\r\nhello\r\n.\r\nQUIT\r\n';

/** What is heard from 127.0.0.9 to the end of the connection. */
async function heard(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.9' });
  socket.on('error', () => {});
  let all = '';
  socket.on('data', (chunk: Buffer) => {
    all += chunk.toString();
  });
  socket.write(text);
  await closed(socket);
  return all;
}

test('a proxy is believed while the manifest names it, and its address counts for nothing then', async () => {
  await using destination = await Destination.start();
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const manifest = relay({ port, submission, monitoring, destination: destination.port });
  const named = manifest.replace(
    'auth: {exemptNetworks: [127.0.0.0/8]}}',
    'auth: {exemptNetworks: [192.0.2.0/24]}, proxyProtocol: {from: [127.0.0.9/32]}}',
  );
  await using standalone = await Standalone.start({ 'relay.yaml': named, 'domain.yaml': domain() });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();

  assert.match(await heard(port, HEADER + MAIL), /^220 .*\r\n250 2\.6\.0 .*\r\n221 /s);
  await destination.received(1);
  assert.match(
    destination.messages[0]?.data.toString() ?? '',
    /^(?:.*\r\n)*?Received: from client\.test \(\[192\.0\.2\.1\]\)/,
  );
  const other = HEADER.replace('192.0.2.1', '203.0.113.1');
  assert.match(
    await heard(port, other + MAIL.replace(/DATA.*/s, 'QUIT\r\n')),
    /^530 5\.7\.0 /m,
    'nobody exempts this one',
  );
  assert.equal(await heard(port, MAIL), '', 'the proxy itself is none of the clients');
  const refused = standalone.lines.find(({ event, client }) => event === 'rejected' && client === '203.0.113.1');
  assert.ok(refused, 'the log names the client');

  standalone.edit('relay.yaml', () => manifest);
  await standalone.until('the header is refused', async () =>
    /^421 4\.7\.0 /m.test(await heard(port, `${HEADER}QUIT\r\n`)),
  );
  assert.match(await heard(port, MAIL), /^250 2\.6\.0 /m);
  assert.deepEqual(standalone.replicaPids(), pids, 'no process was replaced');
});
