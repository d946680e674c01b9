/** The notice to a sender that mail could not be delivered: multipart/report (RFC 6522) with RFC 3464 inside. */
import type { Envelope, Recipient } from '../spool/envelope.ts';

export interface DsnInput {
  /** Of the message that failed. */
  readonly queueId: string;
  readonly envelope: Envelope;
  /** Those to report, with their last reply. */
  readonly recipients: readonly Recipient[];
  /** Header block of the message, blank line included. */
  readonly headers: Buffer;
  /** Who reports: the relay's hostname. */
  readonly hostname: string;
  /** Domain after mailer-daemon@. */
  readonly fromDomain: string;
  readonly nowMs: number;
}

/** A remote reply is the other side's text: bounded, and of one line. */
const LONGEST_REPLY = 1_000;
/** The header of the message that failed, cut to what a sender needs to know it again. */
const LONGEST_HEADER = 64 * 1024;

/** RFC 3461 5.2.1: nobody to tell for the null sender; NOTIFY says who wants to know, FAILURE by default. */
export const wantsFailure = ({ notify }: Recipient): boolean => notify === undefined || notify.includes('FAILURE');

/** Header block, blank line, body; CRLF line ends. */
export function dsnContent(input: DsnInput): { readonly header: Buffer; readonly body: Buffer } {
  const { queueId, envelope, hostname, fromDomain, nowMs } = input;
  const boundary = `=_${queueId}.${nowMs.toString(36)}`;
  const utf8 = envelope.smtputf8;
  const header = [
    `From: Mail Delivery System <mailer-daemon@${fromDomain}>`,
    `To: <${line(envelope.mailFrom)}>`,
    'Subject: Undelivered mail returned to sender',
    `Date: ${date(nowMs)}`,
    `Message-ID: <dsn.${queueId}.${nowMs.toString(36)}@${hostname}>`,
    // RFC 3834 5: nobody answers this automatically.
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="${boundary}"`,
    '',
    '',
  ].join('\r\n');
  const body = Buffer.concat([
    Buffer.from(
      `${part(boundary, utf8 ? 'text/plain; charset=utf-8' : 'text/plain; charset=us-ascii')}${human(input)}\r\n`,
    ),
    Buffer.from(
      `${part(boundary, utf8 ? 'message/global-delivery-status' : 'message/delivery-status')}${machine(input)}\r\n`,
    ),
    Buffer.from(part(boundary, utf8 ? 'message/global-headers' : 'text/rfc822-headers')),
    returned(input.headers, utf8),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  return { header: Buffer.from(header), body };
}

const part = (boundary: string, type: string): string =>
  `--${boundary}\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${/utf-8|global/.test(type) ? '8bit' : '7bit'}\r\n\r\n`;

const date = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');

/** Others' text, as one bounded line without control characters. */
const line = (text: string): string =>
  Array.from(text.slice(0, LONGEST_REPLY), (character) => (/\p{Cc}/u.test(character) ? ' ' : character)).join('');

/** One bounded ASCII line, for fields whose type allows nothing else. */
const ascii = (text: string): string => line(text).replace(/[^ -~]/g, '?');

const replyText = ({ lastReply }: Recipient): string =>
  lastReply === undefined
    ? 'no reply'
    : [lastReply.code, lastReply.enhanced, lastReply.text].filter((piece) => piece !== undefined).join(' ');

const statusOf = (recipient: Recipient): string => {
  if (recipient.state === 'expired') return '5.4.7';
  const { enhanced, code } = recipient.lastReply ?? {};
  if (enhanced?.startsWith('5.')) return enhanced;
  return code !== undefined && code >= 500 ? '5.0.0' : '5.4.7';
};

function human({ recipients, hostname, envelope, queueId }: DsnInput): string {
  const text = envelope.smtputf8 ? line : ascii;
  const told = recipients.map((recipient) => {
    const who = recipient.lastReply?.host ? ` by ${text(recipient.lastReply.host)}` : '';
    const why =
      recipient.state === 'expired'
        ? 'could not be delivered in time; the last answer was'
        : `was refused for good${who}, with`;
    return `<${text(recipient.address)}>\r\n    ${why}:\r\n    ${text(replyText(recipient))}\r\n`;
  });
  return [
    `This is the mail relay ${hostname}.`,
    '',
    'Your message could not be delivered to the recipients below. It will not be',
    'tried again. Check the addresses; where an address is right, its server says',
    'below why it refused, and its administrator can tell more.',
    '',
    ...told,
    `Your message arrived here on ${date(envelope.arrivedMs)} under the queue id ${queueId}.`,
    '',
  ].join('\r\n');
}

/** RFC 3464 2: fields of the message, then a block for each recipient. */
function machine({ recipients, hostname, envelope, nowMs }: DsnInput): string {
  const type = envelope.smtputf8 ? 'utf-8' : 'rfc822';
  const text = envelope.smtputf8 ? line : ascii;
  const blocks = recipients.map((recipient) => {
    const host = recipient.lastReply?.host;
    return [
      ...(recipient.orcpt === undefined ? [] : [`Original-Recipient: ${text(recipient.orcpt)}`]),
      `Final-Recipient: ${type}; ${text(recipient.address)}`,
      'Action: failed',
      `Status: ${statusOf(recipient)}`,
      ...(host === undefined ? [] : [`Remote-MTA: dns; ${text(host)}`]),
      `Diagnostic-Code: smtp; ${text(replyText(recipient))}`,
      `Last-Attempt-Date: ${date(nowMs)}`,
      '',
    ].join('\r\n');
  });
  return [
    `Reporting-MTA: dns; ${hostname}`,
    ...(envelope.envid === undefined ? [] : [`Original-Envelope-Id: ${ascii(envelope.envid)}`]),
    `Arrival-Date: ${date(envelope.arrivedMs)}`,
    '',
    ...blocks,
  ].join('\r\n');
}

/** The header only: enough to know the message again, and it cannot carry anything harmful back to a forged sender. */
function returned(headers: Buffer, utf8: boolean): Buffer {
  const whole = headers.subarray(0, -2);
  const kept = whole.subarray(0, LONGEST_HEADER);
  const cut = kept.length < whole.length ? kept.subarray(0, kept.lastIndexOf('\r\n') + 2) : kept;
  return utf8 ? cut : Buffer.from(cut.toString('latin1').replace(/[^ -~\r\n\t]/g, '?'), 'latin1');
}
