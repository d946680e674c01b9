import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import tls from 'node:tls';
import { CA_LIFE_MS, CERTIFICATE_LIFE_MS, type CertifiedKey, makeCA, makeServerCertificate, renewCA } from './pki.ts';
import { caRenewal, readPair, serverRenewal, validityOf } from './renewal.ts';

const DAY_MS = 24 * 3_600_000;
const NAMES = ['relay.example.test', 'localhost', '127.0.0.1', '::1'];
const nowMs = Math.floor(Date.now() / 1000) * 1000;

/** A TLS session that verifies the server's certificate by the CA alone; rejects when it does not hold. */
async function handshake(server: CertifiedKey, ca: string, servername: string): Promise<string | null> {
  const listener = tls.createServer({ cert: server.certificate, key: server.key }, (socket) => socket.end());
  listener.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  assert.ok(address && typeof address === 'object');
  try {
    return await new Promise((resolve, reject) => {
      const socket = tls.connect({ host: '127.0.0.1', port: address.port, ca, servername });
      socket.on('secureConnect', () => {
        resolve(socket.getProtocol());
        socket.destroy();
      });
      socket.on('error', reject);
    });
  } finally {
    listener.close();
  }
}

describe('a CA of a relay', () => {
  let ca: CertifiedKey;
  let server: CertifiedKey;
  before(async () => {
    ca = await makeCA('Chasqui CA outbound 1a2b3c4d', nowMs);
    server = await makeServerCertificate(ca, NAMES, nowMs);
  });
  const parsed = ({ certificate }: CertifiedKey) => new X509Certificate(certificate);

  it('is a CA that signs server certificates and no other CA', () => {
    assert.equal(parsed(ca).ca, true);
    assert.equal(parsed(ca).subject, 'CN=Chasqui CA outbound 1a2b3c4d');
    assert.equal(parsed(server).ca, false);
    assert.equal(
      parsed(server).subjectAltName,
      'DNS:relay.example.test, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    );
  });

  it('lives ten years, its certificates 90 days', () => {
    assert.equal(validityOf(parsed(ca)).notAfterMs, nowMs + CA_LIFE_MS);
    assert.equal(validityOf(parsed(server)).notAfterMs, nowMs + CERTIFICATE_LIFE_MS);
  });

  it('lets a client that trusts it alone open a TLS session under the host name and localhost', async () => {
    assert.equal(await handshake(server, ca.certificate, 'relay.example.test'), 'TLSv1.3');
    assert.equal(await handshake(server, ca.certificate, 'localhost'), 'TLSv1.3');
  });

  it('does not vouch for another name, nor for a certificate of another CA', async () => {
    await assert.rejects(handshake(server, ca.certificate, 'other.example.test'), {
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    const other = await makeCA('Chasqui CA outbound 1a2b3c4d', nowMs);
    await assert.rejects(handshake(server, other.certificate, 'localhost'), { code: /SIGNATURE|UNABLE/ });
  });

  it('vouches for each pod of a service by a wildcard, and for no name below one', async () => {
    const pods = await makeServerCertificate(ca, ['relay.example.test', '*.outbound-pods.mail.svc'], nowMs);
    assert.equal(await handshake(pods, ca.certificate, 'outbound-12.outbound-pods.mail.svc'), 'TLSv1.3');
    for (const other of [
      'a.outbound-0.outbound-pods.mail.svc',
      'outbound-pods.mail.svc',
      'outbound-0.other.mail.svc',
    ]) {
      await assert.rejects(handshake(pods, ca.certificate, other), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    }
  });

  it('is renewed when a wildcard takes the place of a name that it covers, or the other way', async () => {
    const [pod, pods] = [['outbound-0.outbound-pods.mail.svc'], ['*.outbound-pods.mail.svc']];
    for (const [held, wanted, expected] of [
      [pods, pods, undefined],
      [pods, pod, 'the names of the relay have changed'],
      [pod, pods, 'the names of the relay have changed'],
    ] as const) {
      const pair = readPair(await makeServerCertificate(ca, held, nowMs));
      assert.equal(serverRenewal({ ca: parsed(ca), server: pair, names: wanted, nowMs }), expected);
    }
  });

  it('when renewed is trusted by clients of the old one, and trusts what the old one signed', async () => {
    const renewed = renewCA(ca, nowMs + 7 * 365 * DAY_MS);
    assert.equal(renewed.key, ca.key);
    assert.equal(validityOf(parsed(renewed)).notAfterMs, nowMs + 7 * 365 * DAY_MS + CA_LIFE_MS);
    const next = await makeServerCertificate(renewed, NAMES, nowMs);
    assert.equal(await handshake(next, ca.certificate, 'localhost'), 'TLSv1.3');
    assert.ok(parsed(server).verify(parsed(renewed).publicKey));
  });

  it('passes strict verification by OpenSSL', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'chasqui-pki-'));
    try {
      writeFileSync(path.join(folder, 'ca.pem'), ca.certificate);
      writeFileSync(path.join(folder, 'server.pem'), server.certificate);
      const args = [
        'verify',
        '-x509_strict',
        '-purpose',
        'sslserver',
        '-verify_ip',
        '::1',
        '-CAfile',
        'ca.pem',
        'server.pem',
      ];
      assert.match(execFileSync('openssl', args, { cwd: folder, encoding: 'utf8' }), /server\.pem: OK/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const at = (days: number, names: readonly string[] = NAMES): string | undefined =>
    serverRenewal({ ca: parsed(ca), server: readPair(server), names, nowMs: nowMs + days * DAY_MS });

  for (const [sentence, expected, actual] of [
    ['keeps a certificate in the first two thirds of its life', undefined, () => at(59)],
    ['renews a certificate after two thirds of its life', 'two thirds of its life are over', () => at(61)],
    ['renews a certificate that begins in the future, since a clock was set back', 'it is not valid yet', () => at(-1)],
    [
      'renews a certificate when a name is added',
      'the names of the relay have changed',
      () => at(1, [...NAMES, 'mx.example.test']),
    ],
    ['renews a certificate when a name goes', 'the names of the relay have changed', () => at(1, NAMES.slice(1))],
    [
      'renews a certificate when a name changes',
      'the names of the relay have changed',
      () => at(1, ['mx.example.test', ...NAMES.slice(1)]),
    ],
    ['keeps the CA for six years', undefined, () => caRenewal({ ca: parsed(ca), nowMs: nowMs + 6 * 365 * DAY_MS })],
    [
      'renews the CA after seven, three before its end',
      'two thirds of its life are over',
      () => caRenewal({ ca: parsed(ca), nowMs: nowMs + 7 * 365 * DAY_MS }),
    ],
  ] as const) {
    it(sentence, () => assert.equal(actual(), expected));
  }

  it('takes no certificate whose key is another', () => {
    assert.equal(readPair({ certificate: server.certificate, key: ca.key }), undefined);
    assert.equal(readPair({ certificate: 'nonsense', key: 'nonsense' }), undefined);
  });
});
