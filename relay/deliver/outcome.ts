/** What an attempt came to: for the spool, for the sender, and for those who watch. */
import type { MessageEvent } from '../observe/events.ts';
import type { Recipient } from '../spool/envelope.ts';
import type { Outcome, QueuedDelivery } from '../spool/spool.ts';
import type { Judgements } from './attempt.ts';
import { ownReply } from './reply.ts';
import { isExpired, nextAttemptMs, type Retry } from './retry.ts';

export type OutcomeEvent = Extract<MessageEvent, { readonly attempts: number }>;

export interface Settled {
  readonly outcome: Outcome;
  /** Bounced and expired recipients: the sender is told of them. */
  readonly failed: readonly Recipient[];
  /** To be told once the outcome is on disk. */
  readonly events: readonly OutcomeEvent[];
}

/**
 * @param random in [0, 1)
 * @returns undefined when nothing is known that was not before: the attempt was cut, and counts for nothing
 */
export function settle(
  delivery: QueuedDelivery,
  judgements: Judgements,
  { retry, nowMs, random }: { retry: Retry; nowMs: number; random: number },
): Settled | undefined {
  if (judgements.size === 0) return undefined;
  const { arrivedMs } = delivery.envelope;
  const attempts = delivery.attempts + 1;
  const expired = isExpired(retry, { arrivedMs, nowMs, attempts });
  const nextMs = nextAttemptMs(retry, { arrivedMs, nowMs, attempts, random });
  const remaining: Recipient[] = [];
  const failed: Recipient[] = [];
  const events: OutcomeEvent[] = [];

  for (const recipient of delivery.recipients) {
    const judgement = judgements.get(recipient);
    if (!judgement) {
      remaining.push(recipient);
      continue;
    }
    const state = judgement.state === 'deferred' && expired ? 'expired' : judgement.state;
    const { reply } = judgement;
    if (state === 'deferred') remaining.push({ ...recipient, state, lastReply: reply });
    else if (state !== 'delivered') failed.push({ ...recipient, state, lastReply: reply });
    events.push({
      event: state,
      queueId: delivery.queueId,
      recipient: recipient.address,
      destination: delivery.destination,
      reply,
      attempts,
      ageMs: Math.max(0, nowMs - arrivedMs),
      ...(state === 'deferred' && { nextMs }),
    });
  }
  const waiting = events.some(({ event }) => event === 'deferred');
  return { outcome: { delivery: delivery.id, attempts, remaining, dueMs: waiting ? nextMs : nowMs }, failed, events };
}

/** Every recipient deferred for one reason, of our own. */
export function deferAll(recipients: readonly Recipient[], enhanced: string, text: string): Judgements {
  const reply = ownReply(451, enhanced, text);
  return new Map(recipients.map((recipient) => [recipient, { state: 'deferred', reply }]));
}
