/** Edits of how an SmtpRelay speaks TLS, delivers and tries again: they reach the process that runs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import { at, Destination } from '../harness/destination.ts';
import { MockDns } from '../harness/dns.ts';
import { DOMAIN, domain, RELAY, relay, send } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** Whether a client that knows nothing newer than TLS 1.2 comes to terms with the listener. */
async function takesTls12(port: number): Promise<boolean> {
  await using client = await SmtpClient.connect(port);
  await client.talk(['EHLO client.test', '250-'], ['STARTTLS', '220 ']);
  const { socket } = client;
  socket.removeAllListeners('data');
  return await new Promise((resolve) => {
    const secure = connectTls({ socket, maxVersion: 'TLSv1.2', rejectUnauthorized: false }, () => resolve(true));
    secure.on('error', () => resolve(false));
    secure.on('close', () => resolve(false));
  });
}

test('TLS, retry and direct delivery are as edited, without a restart of the replica', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using smarthost = await Destination.start({ react: at('mail', '451 4.3.0 Not now') });
  await using exchanger = await Destination.start();
  await using dns = await MockDns.start();
  dns.add({ type: 'MX', name: 'example.org', data: { preference: 10, exchange: 'mx.example.org' } });
  dns.add({ type: 'A', name: 'mx.example.org', data: '127.0.0.1' });
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: smarthost.port }),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  /** How long after its deferral the last message is tried again, ms. */
  const deferrals = () =>
    standalone.lines
      .filter(({ event }) => event === 'deferred')
      .map(({ nextMs, time }) => Number(nextMs) - Date.parse(String(time)));
  assert.equal(await takesTls12(submission), true);
  await send(port, 'tried again soon');
  await standalone.until('it is deferred', () => deferrals().length > 0);
  assert.ok(Math.max(...deferrals()) < 10_000);

  standalone.edit('relay.yaml', (text) =>
    text
      .replace('schedule: [1s], expireAfter: 10m', 'schedule: [1h], expireAfter: 10h')
      .concat('  tls: {certificate: {ownCA: {}}, minVersion: TLSv1.3}\n'),
  );
  await standalone.until('TLS 1.2 is refused', async () => !(await takesTls12(submission)));
  await send(port, 'tried again late');
  await standalone.until('one waits for an hour', () => deferrals().some((ms) => ms > 30 * 60_000));

  standalone.edit('relay.yaml', (text) =>
    text.replace(/routes:\n.*\n/, `direct: {resolvers: ["${dns.address}"], port: ${exchanger.port}}\n`),
  );
  await standalone.until('mail goes to the MX', async () => {
    await send(port, 'to the exchanger');
    return exchanger.messages.length > 0;
  });
  assert.deepEqual(standalone.replicaPids(), pids);
});
