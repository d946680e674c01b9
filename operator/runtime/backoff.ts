/** How long to wait after a failure: longer after each further one, never in step with others, as long as it was told. */

export interface Backoff {
  /** After the first failure; doubles with each further one. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

/**
 * @param failures in a row before this one
 * @param error may say itself when to come back, as `retryAfterMs`
 */
export function waitMs(failures: number, error: unknown, { firstMs, lastMs, random = Math.random }: Backoff): number {
  const wait = Math.min(firstMs * 2 ** Math.min(failures, 20), lastMs);
  const jittered = Math.round(wait * (0.75 + 0.5 * random()));
  return Math.max(jittered, retryAfterOf(error) ?? 0);
}

function retryAfterOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('retryAfterMs' in error)) return undefined;
  return typeof error.retryAfterMs === 'number' && error.retryAfterMs >= 0 ? error.retryAfterMs : undefined;
}
