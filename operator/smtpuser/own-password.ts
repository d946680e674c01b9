/**
 * The password that a user is told to have. It is another's: read, never written. One that cannot be used is told, and
 * the one before stays in force.
 */
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Reference } from '../backend.ts';
import type { Judgement } from '../runtime/conditions.ts';

/** NIST SP 800-63B 5.1.1.2. */
const SHORTEST = 8;
/** RFC 4616 2. */
const LONGEST_BYTES = 255;

export type Problem = Pick<Judgement, 'reason' | 'message'>;

/**
 * @param reference what stands where spec.passwordSecretRef points
 * @returns undefined: the user has a password that we make
 */
export function ownPassword({ spec }: SmtpUser, reference: Reference | undefined): string | Problem | undefined {
  if (!spec.passwordSecretRef || !reference) return undefined;
  const { name } = spec.passwordSecretRef;
  if ('problem' in reference) return { reason: 'SecretNotFound', message: reference.problem };
  const { password } = reference.data;
  if (!password) return { reason: 'SecretIncomplete', message: `Secret ${name} has no password.` };
  const fault = faultOf(password);
  return fault === undefined
    ? password
    : { reason: 'PasswordInvalid', message: `The password in Secret ${name} ${fault}.` };
}

function faultOf(password: string): string | undefined {
  if (/[\r\n]$/.test(password)) return 'ends with a line break: write it without one (printf instead of echo)';
  // RFC 8265 4.2, which SASLprep became: no program types these, and some cut a password there.
  if (/[\p{Cc}\u{fffd}]/u.test(password)) return 'has control characters, or is not UTF-8';
  if (Array.from(password).length < SHORTEST) return `is shorter than ${SHORTEST} characters`;
  if (Buffer.byteLength(password) > LONGEST_BYTES) return `is longer than ${LONGEST_BYTES} bytes`;
  return undefined;
}
