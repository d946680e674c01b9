/** Which deliveries of the queue are meant: what a person asks for, judged delivery by delivery. */
import type { Envelope, Recipient, Reply } from './envelope.ts';

/** Fields that are absent let everything pass; those that are there must all hold for the same delivery. */
export interface QueueFilter {
  /** An address, `@DOMAIN` for all of a domain, or `<>` for the null sender. Case does not matter. */
  readonly sender?: string;
  /** An address or `@DOMAIN`, of one of the recipients. */
  readonly recipient?: string;
  /** A destination's key, or the domain of one of the recipients. */
  readonly destination?: string;
  /** SmtpUser who submitted it, as NAME.NAMESPACE. */
  readonly user?: string;
  readonly state?: DeliveryState;
  /** Last reply: `451`, `4.7.1`, `451 4.7.1`, or words that its text has. */
  readonly reason?: string;
  /** Milliseconds since 1970. */
  readonly arrivedBeforeMs?: number;
  readonly arrivedAfterMs?: number;
}

/** queued: not tried yet. deferred: tried, and waits. held: on hold. moving: on its way to another spool. */
export type DeliveryState = 'queued' | 'deferred' | 'held' | 'moving';

export interface FilteredDelivery {
  readonly destination: string;
  readonly attempts: number;
  readonly held: boolean;
  readonly moving: boolean;
  readonly recipients: readonly Recipient[];
}

export const stateOf = ({
  held,
  moving,
  attempts,
}: Pick<FilteredDelivery, 'held' | 'moving' | 'attempts'>): DeliveryState => {
  if (moving) return 'moving';
  if (held) return 'held';
  return attempts > 0 ? 'deferred' : 'queued';
};

export function envelopeMatches(filter: QueueFilter, envelope: Envelope): boolean {
  const { sender, user, arrivedBeforeMs, arrivedAfterMs } = filter;
  return (
    (sender === undefined || addressMatches(sender === '<>' ? '' : sender, envelope.mailFrom)) &&
    (user === undefined || user === envelope.user) &&
    (arrivedBeforeMs === undefined || envelope.arrivedMs < arrivedBeforeMs) &&
    (arrivedAfterMs === undefined || envelope.arrivedMs > arrivedAfterMs)
  );
}

export function deliveryMatches(filter: QueueFilter, delivery: FilteredDelivery): boolean {
  const { recipient, destination, state, reason } = filter;
  if (state !== undefined && state !== stateOf(delivery)) return false;
  const here = destination?.toLowerCase();
  return delivery.recipients.some(
    ({ address, lastReply }) =>
      (here === undefined || here === delivery.destination || address.toLowerCase().endsWith(`@${here}`)) &&
      (recipient === undefined || addressMatches(recipient, address)) &&
      (reason === undefined || reasonMatches(reason, lastReply)),
  );
}

function addressMatches(pattern: string, address: string): boolean {
  const wanted = pattern.toLowerCase();
  const given = address.toLowerCase();
  return wanted.startsWith('@') ? given.endsWith(wanted) : given === wanted;
}

const CODES = /^(?:([2-5]\d\d))?\s*(?:([245]\.\d{1,3}\.\d{1,3}))?$/;

function reasonMatches(reason: string, reply: Reply | undefined): boolean {
  if (!reply) return false;
  const [, code, enhanced] = CODES.exec(reason.trim()) ?? [];
  if (code === undefined && enhanced === undefined) return reply.text.toLowerCase().includes(reason.toLowerCase());
  return (code === undefined || Number(code) === reply.code) && (enhanced === undefined || enhanced === reply.enhanced);
}

/** What a reply is counted under: its codes. Recipients that were not tried yet have none. */
export const reasonOf = (reply: Reply | undefined): string =>
  reply ? [reply.code, reply.enhanced].filter((part) => part !== undefined).join(' ') : '';
