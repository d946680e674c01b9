/** What real clients send, with the files of a credential Secret alone, arrives as it was sent, and signed. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { CLIENTS, type Mail, UntrustedServer } from '../harness/clients.ts';
import { Destination, type ReceivedMessage } from '../harness/destination.ts';
import { Outbound, routeTo } from '../harness/outbound.ts';
import { needsPython } from '../harness/python.ts';
import { assertSignatures } from '../harness/signatures.ts';

let destination: Destination;
let outbound: Outbound;
let zone: string;
let folder: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'byte-for-byte-'));
  destination = await Destination.start();
  outbound = await Outbound.start({ delivery: { routes: [routeTo(destination.port)] }, starttls: true });
  zone = await outbound.zone();
});
after(async () => {
  await outbound?.[Symbol.asyncDispose]();
  await destination?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Case {
  readonly header: readonly string[];
  readonly body: string | Buffer;
  /** Seconds of work, for which one way is enough. */
  readonly large?: true;
  /** Local parts that are not ASCII. */
  readonly utf8?: true;
  /** The content as it has to arrive below what is added; default: as it was sent. */
  readonly arrives?: Buffer;
  /** Added below the signatures; default: Received alone. */
  readonly added?: readonly string[];
}

const HEADER = [
  'From: Shop <user@example.test>',
  'To: Ada <ada@example.org>',
  'Subject: Your order',
  'Date: Tue, 24 Nov 2026 10:00:00 +0000',
  'Message-ID: <1@example.test>',
];
const MIME = ['MIME-Version: 1.0', 'Content-Type: text/plain; charset=utf-8', 'Content-Transfer-Encoding: 8bit'];
const crlf = (lines: readonly string[]): string => lines.map((line) => `${line}\r\n`).join('');
/** Lines of base64, as attachments have them. */
const base64Lines = (bytes: number): string => randomBytes(bytes).toString('base64').replace(/.{76}/g, '$&\r\n');
const attachment = (bytes: number): string =>
  crlf([
    'This is a message of several parts.',
    '--part',
    'Content-Type: text/plain',
    '',
    'See the attachments.',
    '--part',
    'Content-Type: application/octet-stream',
    'Content-Transfer-Encoding: base64',
    'Content-Disposition: attachment; filename="data.bin"',
    '',
    base64Lines(bytes),
    '--part',
    'Content-Type: message/rfc822',
    '',
    'From: eve@example.com',
    'Bcc: all@example.com',
    '',
    'Attached mail keeps its header.',
    '--part--',
  ]);
const MULTIPART = ['MIME-Version: 1.0', 'Content-Type: multipart/mixed; boundary=part'];
/** Every byte but those that end lines, and NUL. */
const EVERY_BYTE = Buffer.from(
  Array.from({ length: 255 }, (_, i) => i + 1).filter((byte) => byte !== 10 && byte !== 13),
);

const CASES: Readonly<Record<string, Case>> = {
  'a message with attachments': { header: [...HEADER, ...MULTIPART], body: attachment(50_000) },
  '8-bit text': { header: [...HEADER, ...MIME], body: 'Größe: 7 €\r\n日本語 \r\n\u{1f4e7}\t\r\n\r\n\r\n' },
  'every byte but NUL': { header: [...HEADER, ...MIME], body: Buffer.concat([EVERY_BYTE, Buffer.from('\r\n')]) },
  'a message of UTF-8 addresses': {
    utf8: true,
    header: [
      'From: Jörg <jörg@example.test>',
      'To: Ünal <ünal@example.org>',
      'Subject: Grüße',
      ...HEADER.slice(3),
      ...MIME,
    ],
    body: 'Grüße\r\n',
  },
  'lines that start with a dot': {
    header: HEADER,
    body: '.\r\n..\r\n...\r\n.hidden\r\n. \r\n\r\n.\r\nMAIL FROM:<eve@example.com>\r\n.\r\n',
  },
  'an empty body': { header: HEADER, body: '' },
  'a message of 20 MB': { large: true, header: [...HEADER, ...MULTIPART], body: attachment(15_000_000) },
  'a message without Date and Message-ID, with Bcc and Return-Path': {
    header: [
      'Return-Path: <other@example.test>',
      ...HEADER.slice(0, 2),
      'Bcc: secret@example.org,\r\n\tother@example.org',
      'X-Bcc: stays',
      'bcc: secret@example.org',
      'Subject: Your order',
    ],
    body: 'Bcc: stays\r\n',
    arrives: Buffer.from(`${crlf([...HEADER.slice(0, 2), 'X-Bcc: stays', 'Subject: Your order'])}\r\nBcc: stays\r\n`),
    added: ['Received', 'Date', 'Message-ID'],
  },
  'lines that end in LF alone': {
    header: [`${HEADER.join('\n')}\nX-Next: line`],
    body: 'one\ntwo\n\nthree\r\n',
    arrives: Buffer.from(crlf([...HEADER, 'X-Next: line', '', 'one', 'two', '', 'three'])),
  },
};

const contentOf = ({ header, body }: Case): Buffer =>
  Buffer.concat([Buffer.from(`${crlf(header)}\r\n`), Buffer.from(body)]);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** The first `count` fields, by name, and all that follows. */
function withoutTop(data: Buffer, count: number): { readonly names: readonly string[]; readonly rest: Buffer } {
  const names: string[] = [];
  let start = 0;
  while (names.length < count) {
    let end = data.indexOf('\r\n', start) + 2;
    while (data[end] === 0x20 || data[end] === 0x09) end = data.indexOf('\r\n', end) + 2;
    names.push(data.toString('latin1', start, data.indexOf(':', start)));
    start = end;
  }
  return { names, rest: data.subarray(start) };
}

async function arrivalFor(recipient: string): Promise<ReceivedMessage> {
  const find = () => destination.messages.find(({ to }) => to.includes(recipient));
  await destination.until(() => find() !== undefined, 60_000);
  const message = find();
  assert.ok(message);
  return message;
}

let sent = 0;
const mailOf = (example: Case): Mail => {
  sent += 1;
  const { utf8 = false } = example;
  return {
    from: utf8 ? 'jörg@example.test' : 'user@example.test',
    to: [`${utf8 ? 'ünal' : 'ada'}-${sent}@example.org`],
    content: contentOf(example),
    smtputf8: utf8,
  };
};

async function assertArrives(example: Case, mail: Mail): Promise<void> {
  const [recipient = ''] = mail.to;
  const message = await arrivalFor(recipient);
  assert.deepEqual([message.from, message.to], [mail.from, mail.to]);
  const { added = ['Received'], arrives = mail.content } = example;
  const expected = ['DKIM-Signature', 'DKIM-Signature', ...added];
  const { names, rest } = withoutTop(message.data, expected.length);
  assert.deepEqual(names, expected);
  assert.equal(rest.length, arrives.length);
  assert.equal(sha256(rest), sha256(arrives));
  await assertSignatures(message.data, zone, 'pass');
}

for (const client of CLIENTS) {
  for (const [name, tls] of [
    ['app', 'TLS from the first byte'],
    ['starttls', 'STARTTLS'],
  ] as const) {
    describe(`${client.name} over ${tls} sends`, { skip: client.needs.skip || needsPython.skip }, () => {
      for (const [what, example] of Object.entries(CASES)) {
        if ((example.utf8 && !client.knowsSmtputf8) || (example.large && name === 'starttls')) continue;
        test(`${what}, which arrives byte for byte, with signatures that two judges pass`, async () => {
          const mail = mailOf(example);
          await client.send(mail, { credential: outbound.credential(name) });
          await assertArrives(example, mail);
        });
      }

      test('nothing to a server whose certificate is of another CA', async () => {
        const other = join(folder, 'other.crt');
        writeFileSync(other, SELF_SIGNED.cert);
        const mail = mailOf({ header: HEADER, body: 'secret\r\n' });
        const access = { credential: outbound.credential(name), ca: other };
        await assert.rejects(client.send(mail, access), UntrustedServer);
        await client.send(mail, { credential: outbound.credential(name) });
        await arrivalFor(mail.to[0] ?? '');
        assert.equal(destination.messages.filter(({ to }) => to[0] === mail.to[0]).length, 1);
      });
    });
  }
}

describe('of a message that arrived', needsPython, () => {
  for (const added of ['From: Eve <eve@example.test>', 'Subject: Other']) {
    test(`both signatures break where "${added}" is added, at the top or below the header`, async () => {
      const queueId = await outbound.send({ to: ['breaks@example.org'] });
      await outbound.event('delivered', queueId);
      const { data } = await arrivalFor('breaks@example.org');
      await assertSignatures(data, zone, 'pass');
      const text = data.toString('latin1');
      await assertSignatures(Buffer.from(`${added}\r\n${text}`, 'latin1'), zone, 'fail');
      await assertSignatures(Buffer.from(text.replace('\r\n\r\n', `\r\n${added}\r\n\r\n`), 'latin1'), zone, 'fail');
    });
  }
});
