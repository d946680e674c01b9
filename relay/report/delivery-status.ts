/** What programs read in a notice of failure: message/delivery-status (RFC 3464 2), for UTF-8 addresses by RFC 6533. */
import { isIP } from 'node:net';
import type { Envelope, Recipient, Reply } from '../spool/envelope.ts';
import { ascii, isAscii, oneLine, wrap } from './line.ts';

export interface DeliveryStatus {
  readonly queueId: string;
  readonly envelope: Envelope;
  readonly recipients: readonly Recipient[];
  readonly hostname: string;
  readonly nowMs: number;
}

/** An address field is not folded: its type, its name and this fit the 998 bytes of a line. */
const LONGEST_ADDRESS = 900;

/** @param utf8 the notice may hold UTF-8 (message/global-delivery-status) */
export function deliveryStatus(
  { queueId, envelope, recipients, hostname, nowMs }: DeliveryStatus,
  utf8: boolean,
): string {
  const perMessage = [
    `Reporting-MTA: dns; ${hostname}`,
    ...(envelope.envid === undefined ? [] : [folded(`Original-Envelope-Id: ${ascii(oneLine(envelope.envid))}`)]),
    `X-Chasqui-Queue-Id: ${queueId}`,
    `Arrival-Date: ${formatDate(envelope.arrivedMs)}`,
  ];
  const perRecipient = recipients.map((recipient) => [
    ...(recipient.orcpt === undefined ? [] : [`Original-Recipient: ${originalRecipient(recipient.orcpt, utf8)}`]),
    `Final-Recipient: ${typedAddress(oneLine(recipient.address), utf8)}`,
    'Action: failed',
    `Status: ${statusOf(recipient)}`,
    ...(recipient.lastReply ? answerFields(recipient.lastReply, utf8) : []),
    `Last-Attempt-Date: ${formatDate(nowMs)}`,
  ]);
  return [perMessage, ...perRecipient].map((fields) => `${fields.join('\r\n')}\r\n`).join('\r\n');
}

/** RFC 5322 3.3, in UTC. */
export const formatDate = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');

/** A reply as it came over the wire. */
export const replyText = ({ code, enhanced, text }: Reply): string =>
  [code, enhanced, oneLine(text)].filter((piece) => piece !== undefined && piece !== '').join(' ');

function answerFields(reply: Reply, utf8: boolean): readonly string[] {
  const { host } = reply;
  const text = utf8 ? replyText(reply) : ascii(replyText(reply));
  // RFC 3464 2.3.6: a type of our own where no server said so but we.
  if (host === undefined) return [folded(`Diagnostic-Code: x-chasqui; ${text}`)];
  return [`Remote-MTA: dns; ${mtaName(host)}`, folded(`Diagnostic-Code: smtp; ${text}`)];
}

/** RFC 3461 9.3: a domain name, or an address in brackets. */
function mtaName(host: string): string {
  if (isIP(host) === 0) return ascii(oneLine(host));
  return isIP(host) === 6 ? `[IPv6:${host}]` : `[${host}]`;
}

/**
 * RFC 3463 3.5: of a delivery that expired the code of what stood in its way says more than X.4.7. A code of another
 * class than the outcome would mislead those who count hard bounces.
 */
function statusOf({ state, lastReply }: Recipient): string {
  const enhanced = lastReply?.enhanced;
  if (state === 'expired') return enhanced !== undefined && /^[45]\./.test(enhanced) ? enhanced : '4.4.7';
  return enhanced?.startsWith('5.') ? enhanced : '5.0.0';
}

/** RFC 6533 3: where UTF-8 is not allowed, what is not ASCII is written as its code points. */
function typedAddress(address: string, utf8: boolean): string {
  if (isAscii(address)) return `rfc822; ${address.slice(0, LONGEST_ADDRESS)}`;
  return `utf-8; ${(utf8 ? address : codePoints(address)).slice(0, LONGEST_ADDRESS)}`;
}

const codePoints = (address: string): string =>
  address.replace(
    /[^!-~]|[\\+=]/gu,
    (character) => `\\x{${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, '0')}}`,
  );

/** RFC 3461 6.3 (d): what ORCPT said, without the xtext of the command line (4); a UTF-8 address has its own escapes. */
function originalRecipient(orcpt: string, utf8: boolean): string {
  const [type = '', ...rest] = oneLine(orcpt).split(';');
  const given = rest.join(';');
  const isUtf8 = type.trim().toLowerCase() === 'utf-8';
  const address = isUtf8
    ? given.trim()
    : ascii(
        given.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
      ).trim();
  const shown = isUtf8 && !utf8 && !isAscii(address) ? address.replace(/[^!-~]+/gu, codePoints) : address;
  return `${ascii(type.trim())}; ${shown.slice(0, LONGEST_ADDRESS)}`;
}

const folded = (field: string): string => wrap(field).join('\r\n ');
