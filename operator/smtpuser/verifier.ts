/**
 * The Secret with a user's verifier, which only we read. It has one of its own, since the client's holds exactly what
 * clients know how to read. It is kept and not derived at each reconcile: its salt is random, and the relay's config must
 * not change without need.
 */
import { createHmac } from 'node:crypto';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { UserDocument } from '../../relay/config/documents.ts';
import type { Secret } from '../backend.ts';
import { timestamp } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { SecretRecipe } from '../runtime/plan.ts';
import { ROTATION } from './credential.ts';
import { verifierName } from './names.ts';
import { makeVerifier, type Verifier } from './scram.ts';

const VERIFIER = 'verifier';
/** Until when the password before is taken too (RFC 3339). */
const PREVIOUS_UNTIL = 'previous-until';

/** Rounds for a password that was put into the Secret by hand, which may be a word. */
const ROUNDS_FOR_OTHERS = 100_000;
const OURS = /^[A-Za-z0-9_-]{43}$/;

/** The password before: taken until then (milliseconds since 1970). */
export interface Previous {
  readonly verifier: Verifier;
  readonly untilMs: number;
}

interface MadeFor {
  readonly password: string;
  readonly rotation: string | undefined;
  readonly previous: Previous | undefined;
}

export function verifierRecipe(user: SmtpUser, { password, rotation, previous }: MadeFor): SecretRecipe {
  return {
    namespace: user.metadata.namespace,
    name: verifierName(user),
    owner: ownerOf(user),
    purpose: VERIFIER,
    annotations: {
      ...(rotation !== undefined && { [ROTATION]: rotation }),
      ...(previous && { [PREVIOUS_UNTIL]: timestamp(previous.untilMs) }),
    },
    generate: async () => {
      const verifier = await makeVerifier(password, OURS.test(password) ? {} : { iterations: ROUNDS_FOR_OTHERS });
      return {
        ...fieldsOf(verifier, ''),
        passwordDigest: digest(password, verifier.salt),
        ...(previous && fieldsOf(previous.verifier, OLD)),
      };
    },
  };
}

/** Prefix of the fields of the password before. */
const OLD = 'previous.';

const fieldsOf = ({ salt, iterations, storedKey, serverKey }: Verifier, prefix: string): Record<string, string> => ({
  [`${prefix}salt`]: salt,
  [`${prefix}iterations`]: String(iterations),
  [`${prefix}storedKey`]: storedKey,
  [`${prefix}serverKey`]: serverKey,
});

/** What relays check a user's password by. */
export type Verifiers = Pick<UserDocument, 'verifier' | 'previousVerifier'>;

/** The verifiers that a Secret holds, if it is the user's and whole. */
export function readVerifiers(user: SmtpUser, secret: Secret | undefined): Verifiers | undefined {
  if (!secret || secret.purpose !== VERIFIER || ownership(secret, ownerOf(user)) !== 'Ours') return undefined;
  const verifier = verifierIn(secret, '');
  const previousVerifier = verifierIn(secret, OLD);
  return verifier && { verifier, ...(previousVerifier && { previousVerifier }) };
}

function verifierIn({ data }: Secret, prefix: string): Verifier | undefined {
  const [salt, storedKey, serverKey] = ['salt', 'storedKey', 'serverKey'].map((field) => data[`${prefix}${field}`]);
  const iterations = Number(data[`${prefix}iterations`]);
  if (!salt || !storedKey || !serverKey || !Number.isInteger(iterations) || iterations < 4_096) return undefined;
  return { salt, iterations, storedKey, serverKey };
}

/** Until when the password before is taken (milliseconds since 1970), if it is. */
export function previousUntilMs(secret: Secret): number | undefined {
  if (!verifierIn(secret, OLD)) return undefined;
  const untilMs = Date.parse(secret.annotations[PREVIOUS_UNTIL] ?? '');
  // One without an end would be taken for ever.
  return Number.isNaN(untilMs) ? 0 : untilMs;
}

/** The Secret of a verifier without the password before. */
export function withoutPrevious(secret: Secret): Secret {
  const { [PREVIOUS_UNTIL]: _, ...annotations } = secret.annotations;
  const data = Object.fromEntries(Object.entries(secret.data).filter(([field]) => !field.startsWith(OLD)));
  return { ...secret, annotations, data };
}

/** Whether the verifier was made from this password; asked at each reconcile, so without the rounds. */
export const verifies = (secret: Secret, password: string): boolean =>
  secret.data.passwordDigest === digest(password, secret.data.salt ?? '');

const digest = (password: string, salt: string): string =>
  createHmac('sha256', Buffer.from(salt, 'base64')).update(password).digest('base64');
