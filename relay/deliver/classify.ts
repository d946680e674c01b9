/**
 * What an answer, or the lack of one, means for a recipient: delivered, deferred (tried again) or bounced (given up).
 */
import type { Reply } from '../spool/envelope.ts';
import { ownReply } from './reply.ts';

export interface Judgement {
  readonly state: 'delivered' | 'deferred' | 'bounced';
  readonly reply: Reply;
  /** There was no session with any host, whatever the message. */
  readonly hostFailed?: true;
}

/**
 * RFC 5321 4.2.1: the first digit decides. A 3xx where the transaction should have ended is a server that is out of
 * step; that passes.
 */
export function judgeReply(reply: Reply): Judgement {
  if (reply.code >= 200 && reply.code < 300) return { state: 'delivered', reply };
  return { state: reply.code >= 500 ? 'bounced' : 'deferred', reply };
}

/** Where a session with a host ended before it could answer for the message. */
export type FailureStage = 'dns' | 'connect' | 'greeting' | 'tls' | 'auth' | 'session';

/** A host could not be used. The fault is the network's or the host's and may pass: the next host, or later, may do. */
export class HostFailure extends Error {
  override readonly name = 'HostFailure';
  readonly stage: FailureStage;
  readonly host: string;
  /** What the host said, where it said something. */
  readonly reply: Reply | undefined;

  constructor(stage: FailureStage, host: string, message: string, reply?: Reply) {
    super(message);
    this.stage = stage;
    this.host = host;
    this.reply = reply;
  }
}

/** RFC 3463: X.4.1 no answer from host, X.4.2 bad connection, X.4.3 directory server failure, X.7.5 cryptographic failure, X.7.0 security status (RFC 4954 6). */
const OWN_CODES: Readonly<Record<FailureStage, readonly [string, string]>> = {
  dns: ['4.4.3', 'cannot look up'],
  connect: ['4.4.1', 'cannot connect to'],
  greeting: ['4.4.2', 'no session with'],
  tls: ['4.7.5', 'cannot secure the connection to'],
  auth: ['4.7.0', 'cannot authenticate to'],
  session: ['4.4.2', 'lost the connection to'],
};

/**
 * Always deferred. Even a 5xx greeting is only about this host now, not about any recipient (RFC 5321 3.1: 554 says "no
 * SMTP service here"); overloaded and half-configured hosts send it, and expiry ends the matter if it stays.
 */
export function judgeFailure(failure: HostFailure): Judgement {
  // What ends a session may be the message: it says nothing about the next one.
  const hostFailed = failure.stage !== 'session' && ({ hostFailed: true } as const);
  // A refusal of STARTTLS or AUTH is quoted in the message of its failure: alone it would not say what was asked.
  const quoted = failure.stage === 'tls' || failure.stage === 'auth';
  if (failure.reply && !quoted) return { state: 'deferred', reply: failure.reply, ...hostFailed };
  const [enhanced, text] = OWN_CODES[failure.stage];
  const reply = ownReply(451, enhanced, `${text} ${failure.host}: ${failure.message}`);
  return { state: 'deferred', reply, ...hostFailed };
}
