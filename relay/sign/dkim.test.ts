import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { dkimpyVerdicts, needsPython } from '../../test/harness/python.ts';
import type { ConfigSource } from '../config/config.ts';
import type { DkimKeyDocument, DomainDocument } from '../config/documents.ts';
import { BodyHash } from './body-hash.ts';
import { createSigner } from './dkim.ts';
import { NoSigningKey } from './signer.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ed25519 = generateKeyPairSync('ed25519');
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const DOMAINS = ['example.test', 'xn--bcher-kva.test'];
const PUBLISHED: Readonly<Record<string, string>> = {
  r1: `v=DKIM1; k=rsa; p=${spki(rsa.publicKey).toString('base64')}`,
  e1: `v=DKIM1; k=ed25519; p=${spki(ed25519.publicKey).subarray(-32).toString('base64')}`,
};
const RECORDS = new Map<string, string>(
  DOMAINS.flatMap((domain) =>
    Object.entries(PUBLISHED).map(([selector, value]) => [`${selector}._domainkey.${domain}`, value] as const),
  ),
);
const ZONE = [...RECORDS]
  .map(([name, value]) => `${name}. 60 IN TXT "${value.slice(0, 255)}" "${value.slice(255)}"\n`)
  .join('');

const KEYS: readonly DkimKeyDocument[] = [
  { selector: 'r1', algorithm: 'RSA2048', privateKey: pem(rsa.privateKey) },
  { selector: 'e1', algorithm: 'Ed25519', privateKey: pem(ed25519.privateKey) },
];

/** Of a config a signer asks for the domains alone. */
function configOf(dkim: { sign: boolean; keys: readonly DkimKeyDocument[] }): ConfigSource {
  const domains = new Map<string, DomainDocument>(
    DOMAINS.map((domain) => [
      domain,
      { name: 'default/x', domain, dkim: { sign: dkim.sign, keys: dkim.keys.map((key) => ({ ...key })) } },
    ]),
  );
  return { current: () => ({ domains }) as unknown as ReturnType<ConfigSource['current']>, onChange: () => () => {} };
}

const signer = createSigner(configOf({ sign: true, keys: KEYS }));
const NOW_MS = Date.UTC(2026, 10, 24);

async function signatureOf(fields: string, body: string, domain = 'example.test'): Promise<string> {
  const hash = new BodyHash();
  hash.update(Buffer.from(body));
  return (await signer.sign(domain, Buffer.from(`${fields}\r\n`), hash.digest(), NOW_MS)).toString('latin1');
}

const signed = async (fields: string, body: string, domain?: string): Promise<Buffer> =>
  Buffer.concat([Buffer.from(await signatureOf(fields, body, domain)), Buffer.from(`${fields}\r\n${body}`)]);

async function mailauthVerdicts(message: Buffer): Promise<string[]> {
  const { results } = await dkimVerify(message, {
    resolver: async (name: string) => {
      const record = RECORDS.get(name);
      if (record === undefined) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      return [[record]];
    },
  });
  return results
    .map(({ selector, status }) => `${String(selector)} ${status.result === 'pass' ? 'pass' : 'fail'}`)
    .sort();
}

/** Both judges, each signature by itself. */
async function assertVerdicts(message: Buffer, verdict: 'pass' | 'fail'): Promise<void> {
  assert.deepEqual(await mailauthVerdicts(message), [`e1 ${verdict}`, `r1 ${verdict}`], 'mailauth');
  const verdicts = await dkimpyVerdicts(message, { zone: ZONE });
  assert.deepEqual(
    verdicts.map(({ selector, verified }) => `${selector} ${verified ? 'pass' : 'fail'}`).sort(),
    [`e1 ${verdict}`, `r1 ${verdict}`],
    'dkimpy',
  );
}

const HEADER =
  'From: Ana <ana@example.test>\r\nTo: bo@example.org\r\nSubject: Hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n';

describe('signatures that mailauth and dkimpy pass', needsPython, () => {
  const CASES: Readonly<Record<string, readonly [fields: string, body: string]>> = {
    'of a plain message': [HEADER, 'Hello.\r\n.dot\r\n'],
    'of an empty body': [HEADER, ''],
    'of a body that is only blank lines': [HEADER, ' \r\n\t\r\n\r\n'],
    'of an 8-bit body with blanks at line ends': [HEADER, 'Größe:\t 7 \r\n  \r\nEnde  \r\n\r\n\r\n'],
    'of folded fields, with tabs and blanks around the fold': [
      HEADER.replace('Subject: Hello', 'Subject:\tHello \t\r\n\t  folded\r\n   twice'),
      'Hello.\r\n',
    ],
    'of empty fields, and of a field that is all folds': [
      `${HEADER}Cc:\r\nReply-To: \t\r\nReferences:\r\n <1@example.test>\r\n\t<2@example.test>\r\n`,
      'Hello.\r\n',
    ],
    'of names in any case': [HEADER.replace('Subject:', 'sUBJECT:').replace('To:', 'TO:'), 'Hello.\r\n'],
    'of repeated fields': [
      `Received: one\r\nReceived: two\r\n${HEADER}List-Id: <a.example.test>\r\nList-Id: <b.example.test>\r\nTo: cy@example.org\r\n`,
      'Hello.\r\n',
    ],
    'of values that look like tags, names and commands': [
      HEADER.replace('Hello', 'v=1; b=x; From: eve@example.test; DKIM-Signature: bh=x='),
      'b=AAAA\r\n',
    ],
    'of raw UTF-8 and of other bytes in the header': [
      HEADER.replace('Hello', 'Grüße \u{1f4e7} 日本語').replace('Ana', '"Jörg  Müller"'),
      'Hello.\r\n',
    ],
    'of three hundred fields of one name': [`${HEADER}${'To: bo@example.org\r\n'.repeat(300)}`, 'Hello.\r\n'],
    'of a very long field': [HEADER.replace('Hello', 'word '.repeat(10_000)), 'Hello.\r\n'],
  };
  for (const [title, [fields, body]] of Object.entries(CASES)) {
    test(title, async () => assertVerdicts(await signed(fields, body), 'pass'));
  }

  test('of an author with a UTF-8 address, as the A-label of the domain (RFC 8616 6)', async () => {
    const fields = HEADER.replace('ana@example.test', 'jörg@bücher.test');
    const message = await signed(fields, 'Grüße\r\n', 'xn--bcher-kva.test');
    assert.match(message.toString(), /; d=xn--bcher-kva\.test;/);
    await assertVerdicts(message, 'pass');
  });
});

describe('what breaks both signatures, say mailauth and dkimpy', needsPython, () => {
  const COVERED = [
    'From: Eve <eve@example.test>',
    'Subject: Other',
    'Sender: eve@example.test',
    'Reply-To: eve@example.com',
    'To: eve@example.com',
    'Cc: eve@example.com',
    'Date: Wed, 25 Nov 2026 10:00:00 +0000',
    'Message-ID: <2@example.test>',
    'In-Reply-To: <2@example.test>',
    'References: <2@example.test>',
    'MIME-Version: 1.0',
    'Content-Type: text/html',
    'Content-Transfer-Encoding: base64',
  ];
  for (const added of COVERED.slice(0, 2)) {
    test(`adding "${added}" at the top, or below the header`, async () => {
      const message = await signed(HEADER, 'Hello.\r\n');
      await assertVerdicts(Buffer.concat([Buffer.from(`${added}\r\n`), message]), 'fail');
      await assertVerdicts(Buffer.from(message.toString().replace('\r\n\r\n', `\r\n${added}\r\n\r\n`)), 'fail');
    });
  }
  for (const added of COVERED) {
    test(`adding "${added}", be there one or none`, async () => {
      for (const fields of [HEADER, `${HEADER}${added.replace(/:.*/, ': x')}\r\n`]) {
        const changed = Buffer.concat([Buffer.from(`${added}\r\n`), await signed(fields, 'Hello.\r\n')]);
        assert.deepEqual(await mailauthVerdicts(changed), ['e1 fail', 'r1 fail']);
      }
    });
  }

  test('another body', async () => {
    const message = await signed(HEADER, 'Pay 10.\r\n');
    await assertVerdicts(Buffer.from(message.toString().replace('Pay 10', 'Pay 100')), 'fail');
  });

  test('a field that is taken out', async () => {
    const message = await signed(HEADER, 'Hello.\r\n');
    await assertVerdicts(Buffer.from(message.toString().replace('Subject: Hello\r\n', '')), 'fail');
  });

  test('a second List-Unsubscribe beside one that was there', async () => {
    const message = await signed(`${HEADER}List-Unsubscribe: <https://example.test/u>\r\n`, 'Hello.\r\n');
    const added = Buffer.from('List-Unsubscribe: <https://example.com/u>\r\n');
    await assertVerdicts(Buffer.concat([added, message]), 'fail');
  });
});

test('a mailing list that only adds its own fields leaves both signatures whole', needsPython, async () => {
  const added = Buffer.from(
    'Received: from list\r\nReturn-Path: <list@example.org>\r\nList-Id: <list.example.org>\r\nList-Unsubscribe: <https://example.org/u>\r\n',
  );
  await assertVerdicts(Buffer.concat([added, await signed(HEADER, 'Hello.\r\n')]), 'pass');
});

test('blanks before the colon do not count, says mailauth; dkimpy reads no such header', async () => {
  const fields = HEADER.replace('Subject:', 'Subject :').replace('To:', 'To\t :');
  assert.deepEqual(await mailauthVerdicts(await signed(fields, 'Hello.\r\n')), ['e1 pass', 'r1 pass']);
});

test('any header and any body passes', async () => {
  const name = fc.constantFrom('Received', 'Subject', 'To', 'Cc', 'References', 'List-Id', 'X-Other', 'content-type');
  const value = fc.stringMatching(/^[ -~\t]{0,30}(\r\n[ \t][!-~][ -~]{0,20}){0,3}$/);
  const field = fc.tuple(name, value).map(([a, b]) => `${a}:${b}\r\n`);
  const text = fc.array(fc.constantFrom('word', ' ', '\t', '\r\n', '.', 'ä'), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(fc.array(field, { maxLength: 8 }), text, async (fields, body) => {
      const message = await signed(`${fields.join('')}From: ana@example.test\r\n`, body.join(''));
      assert.deepEqual(await mailauthVerdicts(message), ['e1 pass', 'r1 pass']);
    }),
    { numRuns: 150 },
  );
});

test('a signature has the tags of RFC 6376 3.5 that are needed, time in seconds, and short lines', async () => {
  const [field = ''] = (await signatureOf(HEADER, '')).split(/(?=DKIM-Signature:)/);
  const tags = field
    .replace(/^DKIM-Signature:/, '')
    .replace(/\s/g, '')
    .split(';');
  assert.deepEqual(
    tags.map((tag) => tag.split('=')[0]),
    ['v', 'a', 'c', 'd', 's', 't', 'h', 'bh', 'b'],
  );
  assert.deepEqual(tags.slice(0, 6), [
    'v=1',
    'a=rsa-sha256',
    'c=relaxed/relaxed',
    'd=example.test',
    's=r1',
    `t=${NOW_MS / 1000}`,
  ]);
  assert.equal(tags[7], `bh=${createHash('sha256').digest('base64')}`);
  for (const line of field.split('\r\n')) assert.ok(line.length <= 78, line);
  assert.ok(field.endsWith('\r\n'));
});

test('the same message signed twice gives the same bytes', async () => {
  assert.equal(await signatureOf(HEADER, 'Hello.\r\n'), await signatureOf(HEADER, 'Hello.\r\n'));
});

test('takes time in proportion to the header, whatever its lines are', async () => {
  const fields = `${HEADER}X${' '.repeat(120_000)}y: z\r\nSubject: ${' '.repeat(120_000)}!\r\n`;
  const startedMs = performance.now();
  await signatureOf(fields, '');
  assert.ok(performance.now() - startedMs < 2_000, 'a scan that starts over at each blank would take minutes');
});

describe('no signature is made', () => {
  const refusal = (source: ConfigSource, domain: string) =>
    createSigner(source).sign(domain, Buffer.from('\r\n'), '', NOW_MS);

  test('of a domain that is to be signed and has no key, or is not in force', async () => {
    await assert.rejects(refusal(configOf({ sign: true, keys: [] }), 'example.test'), NoSigningKey);
    await assert.rejects(refusal(configOf({ sign: true, keys: KEYS }), 'other.test'), NoSigningKey);
  });

  test('with a key that cannot be read or is of another algorithm, whose text the error does not tell', async () => {
    for (const privateKey of [
      '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n',
      pem(rsa.privateKey),
    ]) {
      const source = configOf({ sign: true, keys: [{ selector: 'e1', algorithm: 'Ed25519', privateKey }] });
      await assert.rejects(refusal(source, 'example.test'), {
        name: 'NoSigningKey',
        message: 'DKIM key e1 of example.test is not a private key for Ed25519',
      });
    }
  });

  test('of a domain that is not to be signed', async () => {
    assert.equal((await refusal(configOf({ sign: false, keys: [] }), 'example.test')).length, 0);
  });
});
