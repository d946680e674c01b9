/** What a host is sent of a message, given what it offers; and which recipients it cannot be given. */
import type { Envelope, Recipient, Reply } from '../spool/envelope.ts';
import type { Capabilities } from './capabilities.ts';
import type { Transaction } from './connection.ts';
import { ownReply } from './reply.ts';

export interface Offer {
  readonly envelope: Envelope;
  readonly recipients: readonly Recipient[];
  readonly sizeBytes: number;
  /** The header has bytes above 127 (RFC 6532). */
  readonly utf8Header: boolean;
}

export interface Plan {
  readonly refused: ReadonlyMap<Recipient, Reply>;
  readonly transactions: readonly (Omit<Transaction, 'content'> & { readonly items: readonly Recipient[] })[];
}

/** RFC 5321 4.5.3.1.8: every server takes 100; a message with more goes out in several transactions. */
const RECIPIENTS = 100;

export function planTransactions(offer: Offer, capabilities: Capabilities, host: string): Plan {
  const refused = new Map<Recipient, Reply>();
  const items: Recipient[] = [];
  for (const recipient of offer.recipients) {
    const reply = REFUSALS.reduce<Reply | undefined>(
      (found, refusal) => found ?? refusal(offer, recipient, capabilities, host),
      undefined,
    );
    if (reply) refused.set(recipient, reply);
    else items.push(recipient);
  }
  const transactions = [];
  for (let i = 0; i < items.length; i += RECIPIENTS) {
    const part = items.slice(i, i + RECIPIENTS);
    transactions.push({
      mailFrom: offer.envelope.mailFrom,
      mailParameters: mailParameters(offer, part, capabilities),
      recipients: part.map((item) => ({ address: item.address, parameters: rcptParameters(item, capabilities) })),
      items: part,
    });
  }
  return { refused, transactions };
}

const BREAKS_PATH = /[<>\p{Cc}]/u;

type Refusal = (offer: Offer, recipient: Recipient, offered: Capabilities, host: string) => Reply | undefined;

/** Judged per recipient, in this order. Only a 5xx: what the host does not offer now it will not offer later. */
const REFUSALS: readonly Refusal[] = [
  // RFC 6531 3.2: an internationalized message must not be sent to a server without SMTPUTF8; RFC 3463 X.6.7.
  (offer, recipient, { smtputf8 }, host) =>
    smtputf8 || !needsSmtputf8(offer, [recipient])
      ? undefined
      : ownReply(550, '5.6.7', `${host} does not take internationalized mail (SMTPUTF8), which this message needs`),
  // RFC 6152 3: 8-bit content is converted to 7 bits or not sent. Converting would break its DKIM signatures (ours is
  // over these bytes, as is any the client brought), so it goes back, with RFC 3463 X.6.3: conversion required but not
  // supported.
  (offer, _, { eightBitMime }, host) =>
    eightBitMime || offer.envelope.bodyType === '7BIT'
      ? undefined
      : ownReply(554, '5.6.3', `${host} does not take 8-bit content (8BITMIME), and a relay must not change a message`),
  // RFC 1870 6.1: it would be refused anyway, after all of it was sent.
  (offer, _, { size }, host) =>
    size?.maxBytes === undefined || offer.sizeBytes <= size.maxBytes
      ? undefined
      : ownReply(552, '5.3.4', `${host} takes messages up to ${size.maxBytes} bytes, this one has ${offer.sizeBytes}`),
  // A quoted local part may hold these (RFC 5321 4.1.2); in a command line they would end the path for many parsers.
  (_, { address }) =>
    BREAKS_PATH.test(address) ? ownReply(553, '5.1.3', 'angle brackets in an address are not relayed') : undefined,
  ({ envelope }) =>
    BREAKS_PATH.test(envelope.mailFrom)
      ? ownReply(553, '5.1.7', "angle brackets in the sender's address are not relayed")
      : undefined,
];

/** Whether the message is internationalized for these recipients: the sender said so, and uses it (RFC 6531 3.6). */
const needsSmtputf8 = ({ envelope, utf8Header }: Offer, recipients: readonly Recipient[]): boolean =>
  !isAscii(envelope.mailFrom) ||
  recipients.some(({ address }) => !isAscii(address)) ||
  (envelope.smtputf8 && utf8Header);

function mailParameters(offer: Offer, recipients: readonly Recipient[], offered: Capabilities): readonly string[] {
  const { envelope } = offer;
  return [
    ...(needsSmtputf8(offer, recipients) ? ['SMTPUTF8'] : []),
    ...(envelope.bodyType === '8BITMIME' ? ['BODY=8BITMIME'] : []),
    ...(offered.size ? [`SIZE=${offer.sizeBytes}`] : []),
    ...(offered.dsn && envelope.ret ? [`RET=${envelope.ret}`] : []),
    ...(offered.dsn && envelope.envid ? [`ENVID=${xtext(envelope.envid)}`] : []),
  ];
}

/** RFC 3461 5.2.1: a server that offers DSN is told what the client asked for; it is then in charge of it. */
function rcptParameters({ notify, orcpt }: Recipient, { dsn }: Capabilities): readonly string[] {
  if (!dsn) return [];
  return [
    ...(notify?.length ? [`NOTIFY=${notify.join(',')}`] : []),
    ...(orcpt && XTEXT.test(orcpt) ? [`ORCPT=${orcpt}`] : []),
  ];
}

/** RFC 3461 4.2: printable, no space. Anything else would be read as more parameters. */
const XTEXT = /^[!-~]+$/;

/** RFC 3461 4. */
const xtext = (text: string): string =>
  text.replace(
    /[^!-*,-<>-~]/g,
    (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );

const isAscii = (text: string): boolean => !/\P{ASCII}/u.test(text);
