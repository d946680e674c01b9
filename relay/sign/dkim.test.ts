import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import type { ConfigSource } from '../config/config.ts';
import { BodyHash } from './body-hash.ts';
import { createSigner } from './dkim.ts';
import { NoSigningKey } from './signer.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ed25519 = generateKeyPairSync('ed25519');
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const RECORDS: Readonly<Record<string, string>> = {
  'r1._domainkey.example.test': `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')}`,
  'e1._domainkey.example.test': `v=DKIM1; k=ed25519; p=${ed25519.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64')}`,
};

const domain = (keys: boolean) => ({
  name: 'default/example-test',
  domain: 'example.test',
  dkim: {
    sign: true,
    keys: keys
      ? [
          { selector: 'r1', algorithm: 'RSA2048' as const, privateKey: pem(rsa.privateKey) },
          { selector: 'e1', algorithm: 'Ed25519' as const, privateKey: pem(ed25519.privateKey) },
        ]
      : [],
  },
});

/** Only the domains of a config matter here. */
const configWith = (keys: boolean): ConfigSource => {
  const domains = new Map([['example.test', domain(keys)]]);
  return { current: () => ({ domains }) as unknown as ReturnType<ConfigSource['current']>, onChange: () => () => {} };
};

const signer = createSigner(configWith(true));

async function signed(headers: string, body: string): Promise<Buffer> {
  const hash = new BodyHash();
  hash.update(Buffer.from(body));
  const block = Buffer.from(`${headers}\r\n`);
  const signature = await signer.sign('example.test', block, hash.digest(), Date.now());
  return Buffer.concat([signature, block, Buffer.from(body)]);
}

async function verdicts(message: Buffer): Promise<string[]> {
  const { results } = await dkimVerify(message, {
    resolver: async (name: string) => {
      const record = RECORDS[name];
      if (record === undefined) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      return [[record]];
    },
  });
  return results.map((result) => `${result.selector} ${result.status.result}`).sort();
}

const HEADERS =
  'From: Ana <ana@example.test>\r\nTo: bo@example.org\r\nSubject: Hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n';

test('both signatures of a message pass', async () => {
  assert.deepEqual(await verdicts(await signed(HEADERS, 'Hello.\r\n.dot\r\n')), ['e1 pass', 'r1 pass']);
});

test('an empty body is signed', async () => {
  assert.deepEqual(await verdicts(await signed(HEADERS, '')), ['e1 pass', 'r1 pass']);
});

for (const added of ['From: Eve <eve@example.test>', 'Subject: Other']) {
  test(`adding "${added}" breaks both signatures`, async () => {
    const message = await signed(HEADERS, 'Hello.\r\n');
    const changed = Buffer.concat([Buffer.from(`${added}\r\n`), message]);
    assert.deepEqual(await verdicts(changed), ['e1 fail', 'r1 fail']);
  });
}

test('no line of a signature is longer than 78 characters', async () => {
  const [head = ''] = (await signed(HEADERS, '')).toString().split('\r\nFrom:');
  for (const line of head.split('\r\n')) assert.ok(line.length <= 78, line);
});

test('any header values and bodies pass', async () => {
  const value = fc.stringMatching(/^[ -~]{0,30}(\r\n[ \t][!-~][ -~]{0,20})?$/);
  const text = fc.array(fc.constantFrom('word', ' ', '\t', '\r\n', '.', 'ä'), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(fc.array(value, { maxLength: 4 }), value, text, async (received, subject, body) => {
      const headers = received.map((one) => `Received:${one}\r\n`).join('');
      const message = await signed(`${headers}${HEADERS.replace('Hello', () => subject)}`, body.join(''));
      assert.deepEqual(await verdicts(message), ['e1 pass', 'r1 pass']);
    }),
    { numRuns: 100 },
  );
});

test('a domain without an active key is not signed, and says so', async () => {
  await assert.rejects(createSigner(configWith(false)).sign('example.test', Buffer.from('\r\n'), '', 0), NoSigningKey);
  await assert.rejects(signer.sign('other.test', Buffer.from('\r\n'), '', 0), NoSigningKey);
});
