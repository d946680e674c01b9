/** Durations by GEP-2257. */
import { DURATION_PATTERN } from './common.ts';

const DURATION = new RegExp(DURATION_PATTERN);
const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/**
 * Milliseconds of a duration such as `1h30m`.
 * @throws {RangeError} for text that is no GEP-2257 duration; validated specs never contain such text.
 */
export function durationMs(text: string): number {
  if (!DURATION.test(text)) throw new RangeError(`not a duration: ${text}`);
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9]+)(h|ms|m|s)/g)) {
    total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  }
  return total;
}
