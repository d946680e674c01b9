/** All policies, stage by stage, in the order in which they run. */

import type { Hindrance } from '../spool/spool.ts';
import { parsePathAddress } from './address.ts';
import type { HeaderField } from './header.ts';
import { networkOf } from './networks.ts';
import type { Originator } from './originators.ts';
import { judge, type Policy, type Rejection, reject, type Verdict } from './policy.ts';
import type { UsedUp } from './quotas.ts';
import { SPOOL_FULL, SPOOL_UNAVAILABLE } from './replies.ts';
import { maySendAs } from './senders.ts';
import type { SessionFacts } from './session.ts';

/** Parameters of MAIL and RCPT by keyword in upper case (RFC 5321 4.1.2); true for one without a value. */
type Parameters = ReadonlyMap<string, string | true>;

export interface ConnectFacts {
  readonly session: SessionFacts;
  /** Sessions that are open already. */
  readonly connections: number;
  /** Of the same client. */
  readonly connectionsOfClient: number;
}

/** What has been taken in this session. */
export interface Taken {
  readonly messages: number;
  /** Of all messages, that which is begun included. */
  readonly recipients: number;
}

export interface MailCommand {
  readonly session: SessionFacts;
  readonly taken: Taken;
  /** Why the queue takes no mail. */
  readonly hindrance?: Hindrance['kind'] | undefined;
  /** '' is the null sender. */
  readonly path: string;
  readonly parameters: Parameters;
}

export interface RcptCommand {
  readonly session: SessionFacts;
  readonly taken: Taken;
  readonly path: string;
  readonly parameters: Parameters;
  readonly smtputf8: boolean;
  /** Recipients of this message so far. */
  readonly recipients: number;
}

export interface HeaderFacts {
  readonly session: SessionFacts;
  readonly smtputf8: boolean;
  readonly fields: readonly HeaderField[];
  readonly originators: readonly Originator[];
}

export const BAD_SENDER = reject(553, '5.1.7', 'bad_sender_address', 'the sender is no mail address with a domain');
export const BAD_RECIPIENT = reject(
  553,
  '5.1.3',
  'bad_recipient_address',
  'the recipient is no mail address with a domain',
);
const SMTPUTF8_NEEDED = reject(553, '5.6.7', 'smtputf8_needed', 'this address needs SMTPUTF8');
const UNKNOWN_PARAMETER = reject(555, '5.5.4', 'unknown_parameter', 'a parameter is not supported');
const BAD_PARAMETER = reject(501, '5.5.4', 'bad_parameter', 'a parameter has a wrong value');

/** RFC 5321 3.8: told at any time; the client connects again, and reaches another replica. */
function sessionGoesOn({ leaving }: SessionFacts): Verdict {
  switch (leaving) {
    case 'draining':
      return reject(421, '4.3.2', leaving, 'this replica is being drained, connect again');
    case 'stopping':
      return reject(421, '4.3.2', leaving, 'this replica stops, connect again');
    case 'expired':
      return reject(421, '4.4.2', leaving, 'this session has lasted too long, connect again');
    default:
      return undefined;
  }
}

function replicaHasRoom({ session, connections }: ConnectFacts): Verdict {
  const { connections: most = Number.POSITIVE_INFINITY } = session.config.settings.limits;
  return connections < most
    ? undefined
    : reject(421, '4.3.2', 'too_many_connections', 'too many connections, try again');
}

function clientHasRoom({ session, connectionsOfClient }: ConnectFacts): Verdict {
  const { connectionsPerClient: most = Number.POSITIVE_INFINITY } = session.config.settings.limits;
  return connectionsOfClient < most
    ? undefined
    : reject(421, '4.7.0', 'too_many_connections_of_client', 'too many connections from your address, close some');
}

/** A password that was sent in clear is lost, so this is told also to a client that does not look at EHLO. */
function authIsUnderTls({ secure }: SessionFacts): Verdict {
  return secure ? undefined : reject(538, '5.7.11', 'auth_in_clear', 'encryption required, issue STARTTLS first');
}

/** RFC 4954 4: once in a session. */
function isNotAuthenticated({ user }: SessionFacts): Verdict {
  return user === undefined ? undefined : reject(503, '5.5.1', 'bad_sequence', 'already authenticated');
}

function saidHello({ helo }: SessionFacts): Verdict {
  return helo === '' ? reject(503, '5.5.1', 'bad_sequence', 'send EHLO first') : undefined;
}

function isSecured({ session }: MailCommand): Verdict {
  if (session.secure || (session.listener.tls === 'Optional' && session.network !== undefined)) return undefined;
  return reject(530, '5.7.0', 'tls_required', 'must issue STARTTLS first');
}

function isAuthenticated({ session }: MailCommand): Verdict {
  if (session.user !== undefined || session.network !== undefined) return undefined;
  return reject(530, '5.7.0', 'auth_required', 'authentication required');
}

/** Told before the content is sent, where it can be (RFC 1870 6.1); a message under way is told after it. */
function queueTakesMail({ hindrance }: MailCommand): Verdict {
  if (hindrance === undefined) return undefined;
  return hindrance === 'full' ? SPOOL_FULL : SPOOL_UNAVAILABLE;
}

/** A user that was removed meanwhile may not go on in an open session. */
function isStillAUser({ user, config }: SessionFacts): Verdict {
  if (user === undefined || config.users.has(user)) return undefined;
  return reject(535, '5.7.8', 'user_removed', 'this user is no longer known');
}

function userIsNotSuspended({ user, config }: SessionFacts): Verdict {
  if (user === undefined || !config.users.get(user)?.suspended) return undefined;
  return reject(535, '5.7.8', 'user_suspended', 'this user is suspended');
}

/** A password that was stolen is of no use elsewhere. */
function userIsInItsNetworks({ user, config, clientAddress, isClientKnown }: SessionFacts): Verdict {
  const networks = user === undefined ? undefined : config.users.get(user)?.allowedNetworks;
  if (networks === undefined || (isClientKnown && networkOf(networks, clientAddress) !== undefined)) return undefined;
  return reject(550, '5.7.1', 'network_not_allowed', `this user may not send from ${clientAddress}`);
}

/** What EHLO offers and no more (RFC 5321 4.1.1.11), with values as their RFCs have them. */
function mailParametersAreKnown({ parameters }: MailCommand): Verdict {
  for (const [keyword, value] of parameters) {
    const known = MAIL_PARAMETERS.get(keyword);
    if (known === undefined) return UNKNOWN_PARAMETER;
    if (!known(value)) return BAD_PARAMETER;
  }
  return undefined;
}

const MAIL_PARAMETERS: ReadonlyMap<string, (value: string | true) => boolean> = new Map([
  // RFC 1870 4.
  ['SIZE', (value) => value !== true && /^\d{1,20}$/.test(value)],
  // RFC 6152 2.
  ['BODY', (value) => value !== true && /^(?:7BIT|8BITMIME)$/i.test(value)],
  // RFC 6531 3.4.
  ['SMTPUTF8', (value) => value === true],
  // RFC 4954 5: to be taken, and not believed.
  ['AUTH', (value) => value !== true],
]);

/** RFC 1870 6.1. */
function fitsSize({ session, parameters }: MailCommand): Verdict {
  const limit = session.config.settings.limits.messageSizeBytes;
  return Number(parameters.get('SIZE') ?? 0) > limit ? tooLarge(limit) : undefined;
}

export const tooLarge = (limit: number): Rejection =>
  reject(552, '5.3.4', 'message_too_large', `message is larger than the ${limit} bytes allowed`);

/** RFC 6531 3.1: a non-ASCII address needs the SMTPUTF8 parameter. */
function senderIsAddress({ path, parameters }: MailCommand): Verdict {
  if (path === '') return undefined;
  const address = parsePathAddress(path);
  if (address === undefined) return BAD_SENDER;
  return address.ascii || parameters.has('SMTPUTF8') ? undefined : SMTPUTF8_NEEDED;
}

function senderIsAllowed({ session, path }: MailCommand): Verdict {
  const sender = path === '' ? undefined : parsePathAddress(path);
  return sender === undefined || maySendAs(session, sender) ? undefined : forged('MAIL FROM', sender.text);
}

const forged = (what: string, address: string): Rejection =>
  reject(550, '5.7.1', 'sender_not_allowed', `${what} ${address} is not among the senders you may use`);

/** No extension that has parameters of RCPT is offered. */
function rcptParametersAreKnown({ parameters }: RcptCommand): Verdict {
  return parameters.size > 0 ? UNKNOWN_PARAMETER : undefined;
}

function recipientIsAddress({ path, smtputf8 }: RcptCommand): Verdict {
  const address = parsePathAddress(path);
  if (address === undefined) return BAD_RECIPIENT;
  return address.ascii || smtputf8 ? undefined : SMTPUTF8_NEEDED;
}

/** RFC 5321 4.5.3.1.10: the client sends the rest in another transaction. */
function listIsNotFull({ session, recipients }: RcptCommand): Verdict {
  if (recipients < session.config.settings.limits.recipients) return undefined;
  return reject(452, '4.5.3', 'too_many_recipients', 'too many recipients, send the rest in another message');
}

/** With 421, so that the client goes on in another session; a refusal of each message would only fill its queue. */
function sessionHasMessagesLeft({ session, taken }: MailCommand): Verdict {
  const { messagesPerSession, recipientsPerSession } = session.config.settings.limits;
  if (messagesPerSession !== undefined && taken.messages >= messagesPerSession) {
    return reject(421, '4.7.0', 'session_used_up', 'so many messages a session are enough, connect again');
  }
  if (recipientsPerSession !== undefined && taken.recipients >= recipientsPerSession) {
    return reject(421, '4.7.0', 'session_used_up', 'so many recipients a session are enough, connect again');
  }
  return undefined;
}

/** RFC 5321 4.5.3.1.10, as for a message: those that were taken get it first. */
function sessionHasRecipientsLeft({ session, taken }: RcptCommand): Verdict {
  const { recipientsPerSession: most = Number.POSITIVE_INFINITY } = session.config.settings.limits;
  if (taken.recipients < most) return undefined;
  return reject(452, '4.5.3', 'too_many_recipients', 'too many recipients, send the rest in another session');
}

/** RFC 7505 4.2. Judged last, since it takes a question to the DNS. */
function domainTakesMail({ nullMx }: { readonly nullMx: boolean }): Verdict {
  return nullMx ? reject(556, '5.1.10', 'null_mx', 'the domain of this recipient takes no mail') : undefined;
}

/** Judged after everything else, so that only recipients that are taken use it up. */
function quotaIsLeft({ usedUp }: { readonly usedUp: UsedUp | undefined }): Verdict {
  if (usedUp === undefined) return undefined;
  const { recipients, per } = usedUp;
  return reject(
    450,
    '4.7.1',
    'quota_used_up',
    `your quota of ${recipients} recipients per ${per} is used up, try later`,
  );
}

const ambiguous = (text: string): Rejection => reject(550, '5.6.0', 'ambiguous_header', text);

/** Lines whose field other readers would find elsewhere, or not at all. */
function fieldsAreClear({ fields }: HeaderFacts): Verdict {
  return fields.every(({ clear }) => clear) ? undefined : ambiguous('a line of the header is no plain field');
}

/** RFC 5322 3.6: exactly one From, at most one Sender. Readers differ in which of several they show. */
function originatorsAreSingle({ originators }: HeaderFacts): Verdict {
  const count = (name: Originator['field']): number => originators.filter(({ field }) => field === name).length;
  if (count('From') !== 1) return ambiguous('the header must have exactly one From field');
  return count('Sender') > 1 ? ambiguous('the header has more than one Sender field') : undefined;
}

function originatorsAreReadable({ originators }: HeaderFacts): Verdict {
  for (const { field, addresses } of originators) {
    if (addresses === undefined) return ambiguous(`the ${field} field can be read in more than one way`);
    if (field === 'Sender' && addresses.length > 1) return ambiguous('the Sender field has more than one address');
  }
  return undefined;
}

/**
 * RFC 6532 3.6: a UTF-8 address in a header needs SMTPUTF8. A UTF-8 display name would too; but programs have long sent
 * those as 8BITMIME, every reader shows them, and no address depends on them: they are taken.
 */
function originatorsFitTransport({ originators, smtputf8 }: HeaderFacts): Verdict {
  if (smtputf8 || originators.every(({ addresses }) => addresses?.every(({ ascii }) => ascii))) return undefined;
  return reject(550, '5.6.7', 'smtputf8_needed', 'an address in From or Sender needs SMTPUTF8');
}

function originatorsAreAllowed({ session, originators }: HeaderFacts): Verdict {
  for (const { field, addresses } of originators) {
    const other = addresses?.find((address) => !maySendAs(session, address));
    if (other) return forged(field, other.text);
  }
  return undefined;
}

/** Mail of a domain with DKIM goes out signed or not at all. */
function canBeSigned({ session, originators }: HeaderFacts): Verdict {
  const domain = signingDomain(session, originators);
  if (domain === undefined || session.config.domains.get(domain)?.dkim.keys.length !== 0) return undefined;
  return reject(451, '4.7.5', 'no_dkim_key', `the DKIM key of ${domain} is not ready, try again`);
}

/** The domain to sign as: that of the first From mailbox, where it is one of ours that is signed. */
export function signingDomain({ config }: SessionFacts, originators: readonly Originator[]): string | undefined {
  const author = originators.find(({ field }) => field === 'From')?.addresses?.[0]?.domain;
  return author !== undefined && config.domains.get(author)?.dkim.sign ? author : undefined;
}

export const CONNECT: readonly Policy<ConnectFacts>[] = [
  ({ session }) => sessionGoesOn(session),
  clientHasRoom,
  replicaHasRoom,
];

/** Before every command but QUIT. */
export const COMMAND: readonly Policy<SessionFacts>[] = [sessionGoesOn];

export const AUTH: readonly Policy<SessionFacts>[] = [authIsUnderTls, saidHello, isNotAuthenticated];

/** Of a user whose password was right; asked again at each MAIL, since an open session obeys edits. */
export const USER: readonly Policy<SessionFacts>[] = [isStillAUser, userIsNotSuspended, userIsInItsNetworks];

export const MAIL: readonly Policy<MailCommand>[] = [
  isSecured,
  isAuthenticated,
  ({ session }) => saidHello(session),
  ({ session }) => judge(USER, session),
  sessionHasMessagesLeft,
  queueTakesMail,
  mailParametersAreKnown,
  fitsSize,
  senderIsAddress,
  senderIsAllowed,
];

export const RCPT: readonly Policy<RcptCommand>[] = [
  rcptParametersAreKnown,
  recipientIsAddress,
  listIsNotFull,
  sessionHasRecipientsLeft,
];

export const RCPT_DOMAIN: readonly Policy<{ readonly nullMx: boolean }>[] = [domainTakesMail];

export const RCPT_QUOTA: readonly Policy<{ readonly usedUp: UsedUp | undefined }>[] = [quotaIsLeft];

export const HEADER: readonly Policy<HeaderFacts>[] = [
  fieldsAreClear,
  originatorsAreSingle,
  originatorsAreReadable,
  originatorsFitTransport,
  originatorsAreAllowed,
  canBeSigned,
];
