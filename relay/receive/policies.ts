/** All policies, stage by stage, in the order in which they run. */
import type { HeaderField } from './header.ts';
import { type Address, isAscii, parseAddress, parseMailboxList } from './mailbox.ts';
import type { Policy, Rejection, Verdict } from './policy.ts';
import { maySendAs } from './senders.ts';
import type { SessionFacts } from './session.ts';

export interface MailCommand {
  readonly session: SessionFacts;
  /** '' is the null sender. */
  readonly address: string;
  /** RFC 1870, where the client says it. */
  readonly sizeBytes?: number;
  readonly smtputf8: boolean;
}

export interface RcptCommand {
  readonly session: SessionFacts;
  readonly address: string;
  readonly smtputf8: boolean;
  /** Recipients of this message so far. */
  readonly recipients: number;
  /** The domain says that it takes no mail (RFC 7505). */
  readonly nullMx: boolean;
}

export interface HeaderFacts {
  readonly session: SessionFacts;
  readonly fields: readonly HeaderField[];
  readonly smtputf8: boolean;
}

const reject = (code: number, enhanced: string, reason: string, text: string): Rejection => ({
  code,
  enhanced,
  reason,
  text,
});

const forged = (what: string, address: Address): Rejection =>
  reject(550, '5.7.1', 'sender_not_allowed', `${what} ${address.local}@${address.domain} is not among your senders`);

const ambiguous = (text: string): Rejection => reject(550, '5.6.0', 'ambiguous_header', text);

function greetsWhileWanted(session: SessionFacts): Verdict {
  if (!session.draining) return undefined;
  return reject(421, '4.3.2', 'draining', 'this replica is being drained, connect again');
}

function isSecured({ session }: MailCommand): Verdict {
  if (session.secure || (session.listener.tls === 'Optional' && session.network !== undefined)) return undefined;
  return reject(530, '5.7.0', 'tls_required', 'must issue STARTTLS first');
}

function isAuthenticated({ session }: MailCommand): Verdict {
  if (session.user !== undefined || session.network !== undefined) return undefined;
  return reject(530, '5.7.0', 'auth_required', 'authentication required');
}

/** A user that was removed meanwhile may not go on in an open session. */
function isStillAUser({ session }: MailCommand): Verdict {
  if (session.user === undefined || session.config.users.has(session.user)) return undefined;
  return reject(535, '5.7.8', 'user_removed', 'this user is no longer known');
}

/** RFC 1870 6.1. */
function fitsSize({ session, sizeBytes = 0 }: MailCommand): Verdict {
  const limit = session.config.settings.limits.messageSizeBytes;
  return sizeBytes > limit ? tooLarge(limit) : undefined;
}

export const tooLarge = (limit: number): Rejection =>
  reject(552, '5.3.4', 'message_too_large', `message is larger than the ${limit} bytes allowed`);

/** RFC 6531 3.1: a non-ASCII address needs the SMTPUTF8 parameter. */
function senderIsAddress({ address, smtputf8 }: MailCommand): Verdict {
  if (address === '') return undefined;
  if (!isAscii(address) && !smtputf8) return reject(553, '5.6.7', 'smtputf8_needed', 'this address needs SMTPUTF8');
  if (parseAddress(address) !== undefined) return undefined;
  return reject(553, '5.1.7', 'bad_sender_address', 'this is no mail address with a domain');
}

function senderIsAllowed({ session, address }: MailCommand): Verdict {
  const sender = address === '' ? undefined : parseAddress(address);
  if (sender === undefined || maySendAs(session, sender)) return undefined;
  return forged('MAIL FROM', sender);
}

/** RFC 5321 4.5.3.1.10: the client sends the rest in another transaction. */
function listIsNotFull({ session, recipients }: RcptCommand): Verdict {
  if (recipients < session.config.settings.limits.recipients) return undefined;
  return reject(452, '4.5.3', 'too_many_recipients', 'too many recipients, send the rest in another message');
}

function recipientIsAddress({ address, smtputf8 }: RcptCommand): Verdict {
  if (!isAscii(address) && !smtputf8) return reject(553, '5.6.7', 'smtputf8_needed', 'this address needs SMTPUTF8');
  if (parseAddress(address) !== undefined) return undefined;
  return reject(553, '5.1.3', 'bad_recipient_address', 'this is no mail address with a domain');
}

/** RFC 7505 4.2. */
function domainTakesMail({ nullMx }: RcptCommand): Verdict {
  return nullMx ? reject(556, '5.1.10', 'null_mx', 'the domain of this recipient takes no mail') : undefined;
}

/** Fields whose name other readers would find elsewhere in the line. */
function fieldsAreClear({ fields }: HeaderFacts): Verdict {
  const unclear = fields.find((field) => !field.clear);
  return unclear === undefined ? undefined : ambiguous('a line of the header is no field');
}

/** RFC 5322 3.6: exactly one From, at most one Sender. Readers differ in which of several they show. */
function originatorsAreSingle({ fields }: HeaderFacts): Verdict {
  const count = (name: string): number => fields.filter((field) => field.name === name).length;
  if (count('from') !== 1) return ambiguous('the header must have exactly one From field');
  if (count('sender') > 1) return ambiguous('the header has more than one Sender field');
  return undefined;
}

const originators = (fields: readonly HeaderField[]) =>
  fields.filter(({ name }) => name === 'from' || name === 'sender');

/** Header bytes above 127 are UTF-8 (RFC 6532). */
export const mailboxesOf = (field: HeaderField): readonly Address[] | undefined =>
  parseMailboxList(Buffer.from(field.value, 'latin1').toString('utf8'));

function originatorsAreReadable({ fields }: HeaderFacts): Verdict {
  for (const field of originators(fields)) {
    const mailboxes = mailboxesOf(field);
    if (mailboxes === undefined) return ambiguous(`the ${field.name} field cannot be read in one way only`);
    if (field.name === 'sender' && mailboxes.length > 1) return ambiguous('the sender field has more than one address');
  }
  return undefined;
}

function originatorsAreAllowed({ session, fields }: HeaderFacts): Verdict {
  for (const field of originators(fields)) {
    const other = mailboxesOf(field)?.find((address) => !maySendAs(session, address));
    if (other) return forged(field.name === 'from' ? 'From' : 'Sender', other);
  }
  return undefined;
}

/** Mail of a domain with DKIM goes out signed or not at all. */
function canBeSigned({ session, fields }: HeaderFacts): Verdict {
  const domain = authorDomain(fields);
  const dkim = domain === undefined ? undefined : session.config.domains.get(domain)?.dkim;
  if (!dkim?.sign || dkim.keys.length > 0) return undefined;
  return reject(451, '4.7.5', 'no_dkim_key', `the DKIM key of ${domain} is not ready, try again`);
}

/** The domain that signs: that of the first From mailbox. */
export function authorDomain(fields: readonly HeaderField[]): string | undefined {
  const from = fields.find(({ name }) => name === 'from');
  return from === undefined ? undefined : mailboxesOf(from)?.[0]?.domain;
}

export const CONNECT: readonly Policy<SessionFacts>[] = [greetsWhileWanted];

export const MAIL: readonly Policy<MailCommand>[] = [
  isSecured,
  isAuthenticated,
  isStillAUser,
  fitsSize,
  senderIsAddress,
  senderIsAllowed,
];

export const RCPT: readonly Policy<RcptCommand>[] = [listIsNotFull, recipientIsAddress, domainTakesMail];

export const HEADER: readonly Policy<HeaderFacts>[] = [
  fieldsAreClear,
  originatorsAreSingle,
  originatorsAreReadable,
  originatorsAreAllowed,
  canBeSigned,
];
