/** Which certificate a client is shown, and that it may change at any time: sessions go on, the next one sees the new one. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { replicaStatus } from '../../cli/admin-client.ts';
import { type CertifiedKey, makeCA, makeServerCertificate } from '../../operator/smtprelay/pki.ts';
import { CERTIFICATES, type NamedCertificateDocument } from '../../relay/config/documents.ts';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { Destination } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts } from '../harness/standalone.ts';

const WAIT_MS = 20_000;
const serialOf = (certificate: string): string => new X509Certificate(certificate).serialNumber;
const OWN = serialOf(SELF_SIGNED.cert);

let ca: CertifiedKey;
before(async () => {
  ca = await makeCA('Public CA of a test', Date.now());
});

async function named(...names: readonly string[]): Promise<NamedCertificateDocument> {
  const { certificate, key } = await makeServerCertificate(ca, names, Date.now());
  return { names: [...names], chain: certificate, key };
}

/** Serial number of what is shown to who asks for a name, after STARTTLS or from the first byte. */
async function shown(port: number, name: string | undefined, begin: 'STARTTLS' | 'at once'): Promise<string> {
  const servername = name === undefined ? {} : { servername: name };
  const trust = { rejectUnauthorized: false, ...servername };
  if (begin === 'at once') {
    const socket = connectTls({ host: '127.0.0.1', port, ...trust });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  }
  await using client = await SmtpClient.connect(port);
  await client.talk(['EHLO client.test', '250-'], ['STARTTLS', '220 ']);
  client.socket.removeAllListeners();
  const socket = connectTls({ socket: client.socket, ...trust });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

async function untilShown(port: number, name: string, serial: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while ((await shown(port, name, 'at once')) !== serial) {
    assert.ok(performance.now() < deadline, `never shown for ${name}: ${serial}`);
    await pause(20);
  }
}

test('who asks for a name is shown its certificate, and everybody else the own one; edits end no session', async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  const [port = 0] = await freePorts(1);
  relay.setListeners([
    { name: 'local', protocol: 'Submission', port: relay.port },
    { name: 'tls', protocol: 'Submissions', port },
  ]);
  await relay.logged('the listeners are in force', ({ message }) => message === 'config in force');
  await untilShown(port, 'mail.example.test', OWN);
  await using session = await SmtpClient.connect(port, { implicitTls: true });
  await session.talk(['EHLO client.test', '250-'], ['MAIL FROM:<app@example.test>', '250 ']);

  const [one, wildcard, next] = [
    await named('mail.example.test', 'smtp.example.test'),
    await named('*.wild.test', 'mail.example.test'),
    await named('mail.example.test'),
  ];
  relay.setDocument(CERTIFICATES, { named: [one, wildcard] });
  await untilShown(port, 'mail.example.test', serialOf(one.chain));
  for (const [name, expected] of [
    ['mail.example.test', one.chain],
    ['Smtp.Example.Test', one.chain],
    ['pod-1.wild.test', wildcard.chain],
    ['a.b.wild.test', SELF_SIGNED.cert],
    ['wild.test', SELF_SIGNED.cert],
    ['localhost', SELF_SIGNED.cert],
    [undefined, SELF_SIGNED.cert],
  ] as const) {
    for (const [at, begin] of [
      [port, 'at once'],
      [relay.port, 'STARTTLS'],
    ] as const) {
      assert.equal(await shown(at, name, begin), serialOf(expected), `${name}, ${begin}`);
    }
  }

  // One that is bad hurts its own names: they are served as if it were not there.
  relay.setDocument(CERTIFICATES, { named: [{ ...one, key: wildcard.key }, wildcard, next] });
  await untilShown(port, 'smtp.example.test', OWN);
  assert.equal(await shown(port, 'pod-1.wild.test', 'at once'), serialOf(wildcard.chain));
  assert.equal(await shown(port, 'mail.example.test', 'at once'), serialOf(wildcard.chain), 'the first one has a name');
  assert.deepEqual((await replicaStatus(relay.admin)).rejected, [
    'certificates.json[0]: is no certificate chain with its private key, both PEM',
  ]);

  // A renewal of the one, and of the default.
  const own = await named('localhost');
  relay.setDocument(CERTIFICATES, { default: { chain: own.chain, key: own.key }, named: [next] });
  await untilShown(port, 'mail.example.test', serialOf(next.chain));
  assert.equal(await shown(relay.port, 'localhost', 'STARTTLS'), serialOf(own.chain));

  await session.talk(['RCPT TO:<ann@dest.test>', '250 '], ['DATA', '354 ']);
  assert.match(await session.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
  await relay.untilEmpty();
  assert.equal(destination.messages.length, 1);
  assert.equal(relay.life, 1);
});
