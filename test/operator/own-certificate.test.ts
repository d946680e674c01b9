/** A relay with a certificate of its owner's: served for its hostname, and again when it is another, without a restart. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { connect } from 'node:tls';
import { makeCA, makeServerCertificate } from '../../operator/smtprelay/pki.ts';
import { domain, RELAY, relay } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** Serial number that a client is shown who asks for the name. */
async function shown(port: number, servername: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, servername, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test('a renewed certificate is served by the same process, and a wrong one is told and changes nothing', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const manifest = relay({ port, submission, monitoring })
    .replace(`protocol: Submission, port: ${submission}`, `protocol: Submissions, port: ${submission}`)
    .replace('  monitoring:', '  tls: {certificate: {secretRef: {name: mine}}}\n  monitoring:');
  await using standalone = await Standalone.start({ 'relay.yaml': manifest, 'domain.yaml': domain() });
  const ready = () => standalone.condition(RELAY, 'CertificateReady');
  const told = (reason: string) =>
    standalone.until(`CertificateReady says ${reason}`, () => ready()?.reason === reason);
  await told('SecretNotFound');
  assert.match(ready()?.message ?? '', /no folder secrets\/default\/mine/);
  await standalone.until('it runs', () => standalone.condition(RELAY, 'Programmed')?.status === 'True');
  const own = await shown(submission, 'localhost');
  assert.equal(await shown(submission, 'relay.example.test'), own, 'the private CA serves the name meanwhile');

  const ca = await makeCA('A public CA of a test', Date.now());
  const folder = join(standalone.state, 'secrets/default/mine');
  const issue = async (name: string): Promise<string> => {
    const { certificate, key } = await makeServerCertificate(ca, [name], Date.now());
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const [file, text] of [
      ['tls.crt', certificate],
      ['tls.key', key],
    ] as const) {
      writeFileSync(join(folder, file), text, { mode: 0o600 });
    }
    return new X509Certificate(certificate).serialNumber;
  };
  const untilShown = (serial: string) =>
    standalone.until('it is served', async () => (await shown(submission, 'relay.example.test')) === serial);
  await untilShown(await issue('relay.example.test'));
  await standalone.untilReady(RELAY);
  assert.equal(await shown(submission, 'localhost'), own, 'other names have the private CA');
  await using session = await SmtpClient.connect(submission, { implicitTls: true });
  await session.talk(['EHLO client.test', '250-']);
  const before = standalone.replicaPids();

  const second = await issue('relay.example.test');
  await untilShown(second);

  await issue('else.example.test');
  await told('HostnameMismatch');
  assert.match(ready()?.message ?? '', /The one before is served meanwhile/);
  assert.equal(await shown(submission, 'relay.example.test'), second);
  const third = await issue('relay.example.test');
  await untilShown(third);
  chmodSync(join(folder, 'tls.key'), 0o644);
  // A mode is no change of a file's content: the next look finds it.
  writeFileSync(join(folder, 'tls.crt'), 'nothing');
  await told('SecretNotFound');
  assert.match(ready()?.message ?? '', /tls\.key can be read by others: chmod 0600/);
  rmSync(folder, { recursive: true });
  await standalone.until('its loss is told', () => /no folder/.test(ready()?.message ?? ''));
  assert.equal(await shown(submission, 'relay.example.test'), third);

  await session.talk(['NOOP', '250 ']);
  assert.deepEqual(standalone.replicaPids(), before);
});
