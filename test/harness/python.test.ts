/** The judges are judged first: one that said yes to everything would prove nothing. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { dkimSign } from 'mailauth/lib/dkim/sign.js';
import { MockDns } from './dns.ts';
import { dkimpyVerdicts, needsPython, pyspfResult } from './python.ts';

const MESSAGE = 'From: a@example.test\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello\r\n';

function keyAndRecord(): { privateKey: string; record: string } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const p = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    record: `v=DKIM1; k=rsa; p=${p}`,
  };
}

async function signed(privateKey: string): Promise<string> {
  const key = { signingDomain: 'example.test', selector: 's1', privateKey };
  const { signatures } = await dkimSign(MESSAGE, { ...key, signatureData: [key] });
  return signatures + MESSAGE;
}

const zoneOf = (record: string): string =>
  `s1._domainkey.example.test. 60 IN TXT "${record.slice(0, 200)}" "${record.slice(200)}"\n`;

describe('dkimpy', needsPython, () => {
  const { privateKey, record } = keyAndRecord();

  test('verifies a signature of another implementation by a zone', async () => {
    const [verdict, ...others] = await dkimpyVerdicts(Buffer.from(await signed(privateKey)), { zone: zoneOf(record) });
    assert.equal(verdict?.problem, null);
    assert.deepEqual(
      [verdict?.verified, verdict?.domain, verdict?.selector, verdict?.algorithm, others],
      [true, 'example.test', 's1', 'rsa-sha256', []],
    );
  });

  test('verifies it by a name server', async () => {
    await using dns = await MockDns.start();
    dns.add({ type: 'TXT', name: 's1._domainkey.example.test', data: [record.slice(0, 255), record.slice(255)] });
    const [verdict] = await dkimpyVerdicts(Buffer.from(await signed(privateKey)), { server: dns.address });
    assert.equal(verdict?.verified, true);
  });

  test('refuses a changed body, another key, and a key that is not there', async () => {
    const message = await signed(privateKey);
    const changed = await dkimpyVerdicts(Buffer.from(message.replace('Hello\r\n\r\n', 'Hello\r\n\r\nNot ')), {
      zone: zoneOf(record),
    });
    const foreign = await dkimpyVerdicts(Buffer.from(message), { zone: zoneOf(keyAndRecord().record) });
    const missing = await dkimpyVerdicts(Buffer.from(message), { zone: '' });
    assert.deepEqual(
      [changed, foreign, missing].map(([verdict]) => verdict?.verified),
      [false, false, false],
    );
  });

  test('has nothing to say of an unsigned message', async () => {
    assert.deepEqual(await dkimpyVerdicts(Buffer.from(MESSAGE), { zone: '' }), []);
  });

  test('asks no server that is not on loopback', async () => {
    await assert.rejects(dkimpyVerdicts(Buffer.from(MESSAGE), { server: '192.0.2.1:53' }), /not on loopback/);
  });
});

describe('pyspf', needsPython, () => {
  const zone =
    'example.test. 60 IN TXT "v=spf1 ip4:192.0.2.10 include:other.test -all"\nother.test. 60 IN TXT "v=spf1 ip6:2001:db8::/32 -all"\n';
  const result = async (address: string, sender = 'a@example.test') =>
    (await pyspfResult({ address, sender, helo: 'example.test' }, { zone })).result;

  test('passes an address that is listed, and one that is included', async () => {
    assert.equal(await result('192.0.2.10'), 'pass');
    assert.equal(await result('2001:db8::1'), 'pass');
  });

  test('fails another address', async () => assert.equal(await result('192.0.2.11'), 'fail'));

  test('judges a null sender by the HELO name', async () => assert.equal(await result('192.0.2.10', ''), 'pass'));

  test('has no opinion of a domain without a record', async () => {
    assert.equal(await result('192.0.2.10', 'a@none.test'), 'none');
  });
});
