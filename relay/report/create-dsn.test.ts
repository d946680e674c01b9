import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { dkimpyVerdicts, needsPython } from '../../test/harness/python.ts';
import type { ConfigSource } from '../config/config.ts';
import type { DkimKeyDocument, DomainDocument } from '../config/documents.ts';
import type { Failed } from '../deliver/deliverer.ts';
import { createSigner } from '../sign/dkim.ts';
import { createDsn } from './create-dsn.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const ZONE = `e1._domainkey.example.test. 60 IN TXT "v=DKIM1; k=ed25519; p=${publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64')}"\n`;
const KEY: DkimKeyDocument = {
  selector: 'e1',
  algorithm: 'Ed25519',
  privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
};

const domainDocument = (domain: string, sign: boolean): DomainDocument => ({
  name: `default/${domain}`,
  domain,
  dkim: { sign, keys: sign ? [KEY] : [] },
});

/** A notice and its signer ask for the host name and the domains alone. */
const config: ConfigSource = {
  current: () =>
    ({
      settings: { hostname: 'relay.example.test' },
      domains: new Map(
        [
          domainDocument('example.test', true),
          domainDocument('xn--bcher-kva.test', true),
          domainDocument('plain.test', false),
        ].map((document) => [document.domain, document]),
      ),
    }) as unknown as ReturnType<ConfigSource['current']>,
  onChange: () => () => {},
};
const report = createDsn(config, { destinationOf: (domain) => `to ${domain}` });

const failed = (mailFrom: string): Failed => ({
  queueId: 'Q7',
  envelope: {
    version: 1,
    mailFrom,
    smtputf8: false,
    bodyType: '7BIT',
    arrivedMs: 0,
    sizeBytes: 0,
    bodyHash: '',
    headerBytes: 0,
  },
  recipients: [{ address: 'bo@example.org', state: 'bounced', lastReply: { code: 550, text: 'no' } }],
  headers: Buffer.from('Subject: The order\r\n\r\n'),
  nowMs: Date.UTC(2026, 10, 25),
});

function noticeTo(mailFrom: string) {
  const notice = report(failed(mailFrom));
  assert.ok(notice);
  const [, from = ''] = /^From: .*<(.*)>\r$/m.exec(notice.content.toString()) ?? [];
  return { ...notice, from };
}

describe('a notice of failure comes', () => {
  const CASES: readonly (readonly [string, string, string, string | undefined])[] = [
    ['from the domain of the sender, if it is ours', 'ana@Example.test', 'mailer-daemon@example.test', 'example.test'],
    ['unsigned, if that domain is not to be signed', 'ana@plain.test', 'mailer-daemon@plain.test', undefined],
    ['from the relay, if it is not', 'ana@example.com', 'mailer-daemon@relay.example.test', undefined],
    ['by A-labels', 'änna@bücher.test', 'mailer-daemon@xn--bcher-kva.test', 'xn--bcher-kva.test'],
  ];
  for (const [title, mailFrom, from, signAs] of CASES) {
    test(title, () => {
      const notice = noticeTo(mailFrom);
      assert.deepEqual([notice.from, notice.envelope.signAs], [from, signAs]);
    });
  }

  test('by the route of the sender', () => {
    assert.equal(noticeTo('ana@example.com').deliveries[0]?.destination, 'to example.com');
  });

  test('each under an id of its own', () => {
    assert.notEqual(noticeTo('ana@example.test').envelope.messageId, noticeTo('ana@example.test').envelope.messageId);
  });

  test('with a signature that dkimpy passes', needsPython, async () => {
    const { envelope, content } = noticeTo('ana@example.test');
    const headers = content.subarray(0, envelope.headerBytes);
    const signature = await createSigner(config).sign(
      'example.test',
      headers,
      envelope.bodyHash ?? assert.fail('not hashed'),
      envelope.arrivedMs,
    );
    const [verdict, ...others] = await dkimpyVerdicts(Buffer.concat([signature, content]), { zone: ZONE });
    assert.deepEqual([verdict?.domain, verdict?.verified, others.length], ['example.test', true, 0]);
  });
});
