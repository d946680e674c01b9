/**
 * The notice to a sender that mail could not be delivered: a multipart/report (RFC 6522) of three parts, for people
 * (explanation.ts), for programs (delivery-status.ts), and of the message itself what it takes to know it again.
 */
import { isUtf8 } from 'node:buffer';
import { BodyHash } from '../sign/body-hash.ts';
import type { Recipient } from '../spool/envelope.ts';
import type { SpawnedMessage } from '../spool/spool.ts';
import { type DeliveryStatus, deliveryStatus, formatDate } from './delivery-status.ts';
import { explanation } from './explanation.ts';
import { isAscii, oneLine } from './line.ts';
import { quotedPrintable } from './quoted-printable.ts';

export interface DsnInput extends DeliveryStatus {
  /** Names the notice, and separates its parts: letters, digits and dashes, unique, and not to be guessed. */
  readonly id: string;
  /** Header block of the message that failed, blank line included. */
  readonly headers: Buffer;
  /** All of that message; absent where it is too large to be at hand. */
  readonly content?: Buffer;
  /** Domain after mailer-daemon@. */
  readonly fromDomain: string;
  /** The domain to sign as; absent: the notice goes out unsigned. */
  readonly signAs?: string;
  /** Where mail to the sender goes (Router). */
  readonly destination: string;
}

/** A header is cut here; of a message with RET=FULL that is larger only the header goes back (RFC 3461 6.2). */
const LARGEST_RETURNED_BYTES = 64 * 1024;

/** @returns undefined where no notice is due: for the null sender (RFC 5321 6.1), or nobody wants to know (RFC 3461) */
export function buildDsn(input: DsnInput): SpawnedMessage | undefined {
  const recipients = input.recipients.filter(wantsFailure);
  const { mailFrom } = input.envelope;
  if (mailFrom === '' || recipients.length === 0) return undefined;
  // UTF-8 only where the sender's own address has it, whose server then takes it. For all others the notice is of
  // ASCII: a server without 8BITMIME or SMTPUTF8 would refuse another, and the sender would hear nothing.
  const utf8 = !isAscii(mailFrom);
  const messageId = `<${input.id}@${input.hostname}>`;
  const header = Buffer.from(headerBlock(input, messageId));
  const body = reportBody({ ...input, recipients }, utf8);
  return {
    envelope: {
      version: 1,
      mailFrom: '',
      smtputf8: utf8,
      bodyType: utf8 ? '8BITMIME' : '7BIT',
      arrivedMs: input.nowMs,
      sizeBytes: header.length + body.length,
      messageId,
      ...(input.signAs === undefined ? {} : { signAs: input.signAs, bodyHash: bodyHash(body) }),
      headerBytes: header.length,
    },
    content: Buffer.concat([header, body]),
    deliveries: [
      {
        destination: input.destination,
        // RFC 3461 6.1: the one value of NOTIFY that a notice may have.
        recipients: [{ address: mailFrom, state: 'queued', notify: ['NEVER'] }],
      },
    ],
  };
}

function bodyHash(body: Buffer): string {
  const hash = new BodyHash();
  hash.update(body);
  return hash.digest();
}

/** RFC 3461 4.1: without NOTIFY the sender wants to know of failures. */
const wantsFailure = ({ notify }: Recipient): boolean => notify === undefined || notify.includes('FAILURE');

function headerBlock({ id, envelope, fromDomain, nowMs }: DsnInput, messageId: string): string {
  const original = envelope.messageId;
  return [
    `From: Mail Delivery System <mailer-daemon@${fromDomain}>`,
    `To: <${oneLine(envelope.mailFrom)}>`,
    'Subject: Undelivered mail returned to sender',
    `Date: ${formatDate(nowMs)}`,
    `Message-ID: ${messageId}`,
    // So that mail programs show it with the message it is about (RFC 3834 3.1.6).
    ...(original !== undefined && MESSAGE_ID.test(original)
      ? [`In-Reply-To: ${original}`, `References: ${original}`]
      : []),
    // RFC 3834 5: nobody answers this automatically.
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    ` boundary="${id}"`,
    '',
    '',
  ].join('\r\n');
}

/** What may be repeated of a Message-ID that is the client's text. */
const MESSAGE_ID = /^<[!-;=?-~]{1,900}>$/;

function reportBody(input: DsnInput, utf8: boolean): Buffer {
  const parts = [
    part('text/plain; charset=utf-8', Buffer.from(explanation(input)), utf8),
    part(`message/${utf8 ? 'global-' : ''}delivery-status`, Buffer.from(deliveryStatus(input, utf8)), utf8),
    returned(input, utf8),
  ];
  const boundary = Buffer.from(`--${input.id}`);
  const lines = parts.flatMap((bytes) => [boundary, CRLF, bytes, CRLF]);
  return Buffer.concat([...lines, boundary, Buffer.from('--\r\n')]);
}

const CRLF = Buffer.from('\r\n');

/**
 * The header tells which message it was. All of it goes back only on demand: the sender has it, a failed mailing would
 * come back at its full size, and what was harmful on the way out is so on the way back.
 */
function returned({ envelope, headers, content }: DsnInput, utf8: boolean): Buffer {
  // A message inside a message cannot be encoded (RFC 2046 5.2.1), so one that not every server takes stays here.
  if (envelope.ret === 'FULL' && content && content.length <= LARGEST_RETURNED_BYTES && isPlain(content)) {
    return part('message/rfc822', content, utf8);
  }
  const whole = headers.subarray(0, -CRLF.length);
  const kept = whole.subarray(0, LARGEST_RETURNED_BYTES);
  const bytes = kept.length < whole.length ? kept.subarray(0, kept.lastIndexOf(CRLF) + CRLF.length) : whole;
  // RFC 6533 6.3: UTF-8 in header fields has a type of its own.
  const type = isUtf8(bytes) && !isAscii(bytes.toString()) ? 'message/global-headers' : 'text/rfc822-headers';
  return part(type, bytes, utf8);
}

function part(type: string, bytes: Buffer, utf8: boolean): Buffer {
  const [encoding, encoded] = encode(bytes, utf8);
  return Buffer.concat([
    Buffer.from(`Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`),
    encoded,
  ]);
}

function encode(bytes: Buffer, utf8: boolean): readonly [encoding: string, encoded: Buffer] {
  if (isPlain(bytes)) return ['7bit', bytes];
  return utf8 && isUtf8(bytes) && !hasLongLine(bytes) ? ['8bit', bytes] : ['quoted-printable', quotedPrintable(bytes)];
}

/** RFC 2045 2.7. */
const isPlain = (bytes: Buffer): boolean =>
  isAscii(bytes.toString('latin1')) && !bytes.includes(0) && !hasLongLine(bytes);

/** RFC 5322 2.1.1. */
const hasLongLine = (bytes: Buffer): boolean =>
  bytes
    .toString('latin1')
    .split('\r\n')
    .some((line) => line.length > 998);
