/** Classes of what a destination answers, few enough to be counted by. */
import type { Reply } from '../spool/envelope.ts';

/** RFC 3463 section 3: what the second number of an enhanced status code is about. */
const SUBJECTS = ['undefined', 'address', 'mailbox', 'system', 'network', 'protocol', 'content', 'policy'] as const;

export type Reason = 'none' | (typeof SUBJECTS)[number];

export const REASONS: readonly Reason[] = ['none', ...SUBJECTS];

/**
 * Our own replies have enhanced codes, as most others have. Of those without, the code says something (RFC 5321 4.2.3).
 *
 * @returns none: it was taken
 */
export function reasonOf({ code, enhanced }: Reply): Reason {
  if (code >= 200 && code < 300) return 'none';
  const subject = SUBJECTS[Number(enhanced?.split('.')[1] ?? bySmtp.get(code) ?? 0)];
  return subject ?? 'undefined';
}

const bySmtp: ReadonlyMap<number, number> = new Map([
  [421, 3],
  [450, 2],
  [452, 3],
  [550, 1],
  [551, 1],
  [552, 2],
  [553, 1],
]);
