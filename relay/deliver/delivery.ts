/**
 * A delivery in hand, from attempt to record. Order is what keeps mail: the destination answers, then the outcome (with
 * the DSN it causes) is on disk, then it is told. A crash in between makes a message arrive twice (RFC 1047), never not
 * at all.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Observer } from '../observe/events.ts';
import { NoSigningKey } from '../sign/signer.ts';
import type { Recipient } from '../spool/envelope.ts';
import {
  type Accepted,
  type Outcome,
  type QueuedDelivery,
  type SpawnedMessage,
  type Spool,
  SpoolDamage,
  SpoolUnavailable,
} from '../spool/spool.ts';
import { type AttemptContext, attempt, type Judgements } from './attempt.ts';
import type { Failed } from './deliverer.ts';
import type { Lease } from './destination-limit.ts';
import type { Held } from './in-hand.ts';
import { Leases, NoRoom } from './leases.ts';
import type { Message } from './message.ts';
import { deferAll, settle } from './outcome.ts';

export interface DeliveryContext extends AttemptContext {
  readonly spool: Pick<Spool, 'record' | 'health'>;
  readonly observer: Observer;
  readonly now: () => number;
  readonly report: (failed: Failed) => SpawnedMessage | undefined;
  /** Takes the DSN that was just committed. */
  readonly onSpawned: (accepted: Accepted) => void;
}

/**
 * dueMs: the delivery waits in the spool until then. hostFailed: there was no session with any host. held: it is damaged,
 * or its end could not be recorded. NoRoom: nothing was done.
 */
export type Ended = { readonly dueMs?: number; readonly hostFailed?: true } | 'held' | NoRoom;

const RECORD_AGAIN_MS = 1_000;
const NOTHING = Buffer.alloc(0);

/** Never rejects. */
export async function deliver(context: DeliveryContext, held: Held, lease?: Lease): Promise<Ended> {
  const { delivery, message } = held;
  const { observer } = context;
  const { queueId, recipients } = delivery;
  const judgements: Judgements = new Map();
  const leases = new Leases(lease);
  let damaged = false;
  try {
    // An attempt whose outcome cannot be recorded is one that is made again after the next kill.
    while (!context.spool.health().records && !context.halted()) await sleep(RECORD_AGAIN_MS);
    await attempt(context, held, judgements, leases);
  } catch (error) {
    if (error instanceof NoRoom) return error;
    damaged = error instanceof SpoolDamage;
    if (damaged)
      observer.log('error', 'Message is damaged in the spool; it is held', { queueId, error: String(error) });
    else {
      for (const [recipient, judgement] of judgementsOf(error, recipients, observer)) {
        if (!judgements.has(recipient)) judgements.set(recipient, judgement);
      }
    }
  } finally {
    leases.leave();
  }
  try {
    const ended = await conclude(context, delivery, message, judgements);
    return damaged ? 'held' : ended;
  } catch (error) {
    // Nothing is known of the disk: the delivery must not be tried again before a restart has read it.
    observer.log('error', 'Outcome of a delivery could not be recorded; it is held', { queueId, error: String(error) });
    return 'held';
  }
}

/** A fault of ours defers: nobody else is to blame, and it may be mended before the message expires. */
function judgementsOf(error: unknown, recipients: readonly Recipient[], observer: Observer): Judgements {
  if (error instanceof NoSigningKey) return deferAll(recipients, '4.7.5', error.message);
  observer.log('error', 'Attempt failed for a reason of our own', { error: String(error) });
  return deferAll(recipients, '4.3.0', 'internal error of this relay');
}

async function conclude(
  context: DeliveryContext,
  delivery: QueuedDelivery,
  message: Message,
  judgements: Judgements,
): Promise<Ended> {
  const { config, observer, now, random, onSpawned } = context;
  const nowMs = now();
  const settled = settle(delivery, judgements, {
    retry: config.current().settings.delivery.retry,
    nowMs,
    random: random(),
  });
  // Cut by stop(): nothing is recorded, so it is due again at once after the restart.
  if (!settled) return 'held';
  const { outcome, failed, events } = settled;
  const notice = failed.length > 0 ? await noticeOf(context, { delivery, message, failed, nowMs }) : undefined;
  const signature = outcome.remaining.length > 0 ? message.newSignature : undefined;
  const [spawned] = await record(context, { ...outcome, ...(signature && { signature }) }, notice ? [notice] : []);
  for (const event of events) {
    const caused = spawned && (event.event === 'bounced' || event.event === 'expired');
    observer.message(caused ? { ...event, dsn: spawned.queueId } : event);
  }
  if (spawned) onSpawned(spawned);
  if (outcome.remaining.length === 0) return {};
  const hostFailed = [...judgements.values()].every((judgement) => judgement.hostFailed);
  return { dueMs: outcome.dueMs, ...(hostFailed && { hostFailed }) };
}

async function noticeOf(
  { report, observer }: DeliveryContext,
  { delivery, message, failed, nowMs }: Concluded,
): Promise<SpawnedMessage | undefined> {
  const { queueId, envelope } = delivery;
  const told = { queueId, envelope, recipients: failed, nowMs };
  try {
    const content = await message.inMemory();
    return report({ ...told, headers: await message.headers(), ...(content && { content }) });
  } catch (error) {
    observer.log('error', 'Message could not be read for the notice to its sender, which goes without its header', {
      queueId,
      error: String(error),
    });
  }
  try {
    return report({ ...told, headers: NOTHING });
  } catch (error) {
    // Without the notice the outcome is still recorded: to try recipients again who were refused, or who have the
    // message already, helps nobody.
    observer.log('error', 'Sender could not be told of a failure', { queueId, error: String(error) });
    return undefined;
  }
}

interface Concluded {
  readonly delivery: QueuedDelivery;
  readonly message: Message;
  readonly failed: readonly Recipient[];
  readonly nowMs: number;
}

/**
 * A spool that cannot record now (disk full) is asked again until it can: the answer of the destination is known and
 * must not be lost while this process lives. The connection limit stops delivery meanwhile.
 */
async function record(
  { spool, halted, observer }: DeliveryContext,
  outcome: Outcome,
  notices: readonly SpawnedMessage[],
): Promise<readonly Accepted[]> {
  for (;;) {
    try {
      return await spool.record([outcome], notices);
    } catch (error) {
      if (!(error instanceof SpoolUnavailable) || halted()) throw error;
      observer.log('warn', 'Spool cannot record an outcome now; trying again', { error: error.message });
      await sleep(RECORD_AGAIN_MS);
    }
  }
}
