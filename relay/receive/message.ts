/** One message from DATA to the spool: 250 follows only once commit has resolved. */
import type { SMTPServerAddress, SMTPServerDataStream, SMTPServerSession } from 'smtp-server';
import { domainOf } from '../deliver/router.ts';
import type { Envelope, Recipient } from '../spool/envelope.ts';
import { type Accepted, type Intake, type NewDelivery, SpoolUnavailable } from '../spool/spool.ts';
import { ContentReader } from './content.ts';
import { HEADER } from './policies.ts';
import { judge, type Rejection } from './policy.ts';
import type { ReceiverOptions } from './receiver.ts';
import type { SessionFacts } from './session.ts';

export type Envelopes = SMTPServerSession['envelope'];

export interface Transaction {
  readonly facts: SessionFacts;
  readonly envelope: Envelopes;
  readonly smtputf8: boolean;
  /** The address as it goes on: domain as A-labels. */
  readonly addressOf: (address: SMTPServerAddress) => string;
}

const UNAVAILABLE: Rejection = {
  code: 451,
  enhanced: '4.3.0',
  reason: 'spool_unavailable',
  text: 'the queue cannot take mail now, try again',
};

/**
 * Reads the message to its end and stores it.
 *
 * @throws when the client goes away in the middle: nothing is kept then
 */
export async function receiveMessage(
  { spool, observer, router, onAccepted, now }: ReceiverOptions,
  transaction: Transaction,
  stream: SMTPServerDataStream,
): Promise<Accepted | Rejection> {
  const { facts, smtputf8 } = transaction;
  const { settings } = facts.config;
  const intake = spool.open();
  const reader = new ContentReader({
    queueId: intake.queueId,
    session: facts,
    hostname: settings.hostname,
    smtputf8,
    maxBytes: settings.limits.messageSizeBytes,
    nowMs: now(),
    judgeHeader: (fields) => judge(HEADER, { session: facts, fields, smtputf8 }),
    write: (chunk) => intake.write(chunk),
  });
  const rejection = await read(reader, intake, stream);
  if (rejection) return rejection;
  const recipients = transaction.envelope.rcptTo.map((address) => recipientOf(address, transaction));
  const envelope = envelopeOf(transaction, reader, now());
  try {
    const accepted = await intake.commit(
      envelope,
      grouped(recipients, (domain) => router.destinationOf(domain)),
    );
    observer.message({
      event: 'received',
      queueId: accepted.queueId,
      envelope,
      recipients: recipients.map(({ address }) => address),
    });
    onAccepted(accepted);
    return accepted;
  } catch (error) {
    if (!(error instanceof SpoolUnavailable)) throw error;
    observer.log('error', 'the spool took no message', { problem: error.message });
    return UNAVAILABLE;
  }
}

async function read(
  reader: ContentReader,
  intake: Intake,
  stream: SMTPServerDataStream,
): Promise<Rejection | undefined> {
  try {
    for await (const chunk of stream) {
      if (!Buffer.isBuffer(chunk)) throw new TypeError('content comes as bytes');
      const waiting = reader.push(chunk);
      if (waiting) await waiting;
    }
    await reader.end();
  } catch (error) {
    await intake.abort();
    throw error;
  }
  if (reader.verdict) await intake.abort();
  return reader.verdict;
}

function recipientOf(address: SMTPServerAddress, { addressOf }: Transaction): Recipient {
  const { notify, orcpt } = address.dsn ?? {};
  const known = (['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'] as const).filter((word) => notify?.includes(word));
  return {
    address: addressOf(address),
    state: 'queued',
    ...(known.length === 0 ? {} : { notify: known }),
    ...(orcpt === undefined || orcpt === null ? {} : { orcpt }),
  };
}

/** One delivery for each destination. */
function grouped(recipients: readonly Recipient[], destinationOf: (domain: string) => string): readonly NewDelivery[] {
  const groups = Map.groupBy(recipients, ({ address }) => destinationOf(domainOf(address)));
  return [...groups].map(([destination, members]) => ({ destination, recipients: members }));
}

function envelopeOf(
  { facts, envelope, smtputf8, addressOf }: Transaction,
  reader: ContentReader,
  nowMs: number,
): Envelope {
  const { ret, envid } = envelope.dsn ?? {};
  return {
    version: 1,
    mailFrom: envelope.mailFrom ? addressOf(envelope.mailFrom) : '',
    smtputf8,
    bodyType: reader.bodyType,
    ...(ret === 'FULL' || ret === 'HDRS' ? { ret } : {}),
    ...(typeof envid === 'string' ? { envid } : {}),
    arrivedMs: nowMs,
    sizeBytes: reader.sizeBytes,
    ...(reader.messageId === undefined ? {} : { messageId: reader.messageId }),
    ...(facts.user === undefined ? {} : { user: facts.user }),
    ...(facts.user === undefined && facts.network !== undefined ? { network: facts.network } : {}),
    listener: facts.listener.name,
    client: { address: facts.clientAddress, helo: facts.helo, ...(facts.tls === undefined ? {} : { tls: facts.tls }) },
    ...(reader.signAs === undefined ? {} : { signAs: reader.signAs }),
    bodyHash: reader.bodyHash(),
    headerBytes: reader.headerBytes,
  };
}
