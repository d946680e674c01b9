/** When a delivery that failed for now is tried again, and when it is given up (RFC 5321 4.5.4.1). */
export interface Retry {
  /** Waits between attempts, ms; the last one repeats. */
  readonly scheduleMs: readonly number[];
  /** From arrival, ms. */
  readonly expireAfterMs: number;
}

const JITTER = 0.1;

/**
 * Judged at a failed attempt only: mail that waited through an outage of our own is still tried once. Mail that arrived
 * later than it is now, since the clock was set back, is as old as the waits between its attempts.
 *
 * @param attempts made so far, at least 1
 */
export function isExpired(
  retry: Retry,
  { arrivedMs, nowMs, attempts }: { arrivedMs: number; nowMs: number; attempts: number },
): boolean {
  const ageMs = nowMs >= arrivedMs ? nowMs - arrivedMs : waitedMs(retry, attempts - 1);
  return ageMs >= retry.expireAfterMs;
}

function waitedMs({ scheduleMs }: Retry, waits: number): number {
  const listed = scheduleMs.slice(0, waits).reduce((sum, wait) => sum + wait, 0);
  return listed + Math.max(0, waits - scheduleMs.length) * (scheduleMs.at(-1) ?? 0);
}

/**
 * The moment of the next attempt. Spread by +-10%, so that messages which failed together do not come back together.
 * Not after expiry: the last attempt falls on that moment, so the sender hears in time.
 *
 * @param attempts made so far, at least 1
 * @param random in [0, 1)
 */
export function nextAttemptMs(
  retry: Retry,
  { arrivedMs, nowMs, attempts, random }: { arrivedMs: number; nowMs: number; attempts: number; random: number },
): number {
  const waitMs = retry.scheduleMs[Math.min(attempts, retry.scheduleMs.length) - 1] ?? retry.expireAfterMs;
  const spreadMs = Math.round(waitMs * (1 + JITTER * (2 * random - 1)));
  return Math.max(nowMs, Math.min(nowMs + spreadMs, arrivedMs + retry.expireAfterMs));
}
