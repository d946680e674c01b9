/**
 * What becomes of a user's credential: it is made, kept, moved to another name, and rotated.
 *
 * A rotation writes the new password first, and marks it with the value of the annotation that asked for it; the next
 * look finds a verifier of another mark, and makes one that goes on taking the password before for a while. So a crash
 * between the two loses neither password. One that people wrote into the Secret by hand has no new mark: they may have
 * done so because the former one is known to others, and it is taken no more. So it is with a password of the user's own,
 * unless the annotation asks for a rotation at the same time.
 */
import { isDeepStrictEqual } from 'node:util';
import { durationMs } from '../../crds/duration.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Secret } from '../backend.ts';
import { secretConflict } from '../runtime/apply-plan.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { Plan } from '../runtime/plan.ts';
import { caCertificateOf } from '../smtprelay/certificates.ts';
import type { ObservedUser } from './controller.ts';
import {
  CREDENTIAL,
  credentialRecipe,
  credentialSecret,
  type Endpoint,
  endpointListener,
  ROTATION,
} from './credential.ts';
import { ownPassword, type Problem } from './own-password.ts';
import {
  type Previous,
  previousUntilMs,
  readVerifiers,
  verifierRecipe,
  verifies,
  withoutPrevious,
} from './verifier.ts';

/** Another value of it asks for another password. */
export const ROTATE_PASSWORD = 'chasqui.dev/rotate-password';

interface CredentialPlan extends Pick<Plan<'SmtpUser'>, 'create' | 'apply' | 'delete'> {
  readonly judgement: Judgement;
  /** Until when the password before is taken (milliseconds since 1970). */
  readonly untilMs?: number;
}

export function planCredential(accepted: Judgement, observed: ObservedUser, nowMs: number): CredentialPlan {
  const { user, credential, verifier } = observed;
  if (accepted.status !== 'True') {
    return { judgement: notReady('NotAccepted', 'The credential is written once the user is accepted.') };
  }
  const foreign = [credential, verifier].filter((secret) => secret && ownership(secret, ownerOf(user)) === 'Foreign');
  if (foreign.length > 0) {
    const names = foreign.map((secret) => `${secret?.namespace}/${secret?.name}`);
    return { judgement: secretConflict('CredentialReady', names) };
  }
  const endpoint = endpointOf(observed);
  if ('status' in endpoint) return { judgement: endpoint };
  const own = ownPassword(user, observed.password);

  // Names are unique, so what another uid left under our name is a predecessor's: its password must not work on.
  const isOurs = (secret: Secret | undefined): secret is Secret =>
    secret !== undefined && ownership(secret, ownerOf(user)) === 'Ours';
  const stale = [credential, verifier].filter((secret) => secret !== undefined && !isOurs(secret));
  const former = isOurs(observed.former) && observed.former.purpose === CREDENTIAL ? observed.former : undefined;
  const password = isOurs(credential) ? credential.data.password : undefined;
  const rotation = user.metadata.annotations?.[ROTATE_PASSWORD];
  const problem = typeof own === 'object' ? own : undefined;
  if (problem && !password) return { judgement: notReady(problem.reason, problem.message) };
  const wanted = typeof own === 'object' ? password : own;
  // An editor empties a file before it writes: a password is about to come, and must not be taken for a loss.
  if (password === '' && wanted === undefined) {
    return { judgement: notReady('PasswordEmpty', `The password in Secret ${credential?.name} is empty: write one.`) };
  }
  if (!credential || password === undefined) {
    return {
      // One of ours without a password is of no use to anyone, and in the way of a new one.
      delete: [...stale, ...(isOurs(credential) ? [credential] : [])],
      create: [credentialRecipe(user, endpoint, firstPassword(wanted, former, rotation))],
      judgement: notReady('CredentialMissing', 'The credential is being made.'),
    };
  }
  const held = { credential, password, verifier: isOurs(verifier) ? verifier : undefined };
  const { change, untilMs, made } = changeOf(user, endpoint, held, { password: wanted, rotation }, nowMs);
  return {
    delete: [...stale, ...(former ? [former] : [])],
    // What is as it should be is not written again: it could replace a password that was put there meanwhile.
    apply: change,
    ...(untilMs !== undefined && { untilMs }),
    judgement: judgementOf(credential, problem, made),
  };
}

function judgementOf(credential: Secret, problem: Problem | undefined, made: boolean): Judgement {
  if (problem) return notReady(problem.reason, `${problem.message} The one before is taken meanwhile.`);
  if (!made) return notReady('VerifierMissing', 'The verifier is being made.');
  const message = `Secret ${credential.name} holds it.`;
  return { type: 'CredentialReady', status: 'True', reason: 'CredentialReady', message };
}

/** A password of the user's own goes before the one under a former name, which clients may still be using. */
const firstPassword = (own: string | undefined, former: Secret | undefined, rotation: string | undefined) =>
  own === undefined && former
    ? { password: former.data.password, rotation: former.annotations[ROTATION] }
    : { password: own, rotation };

interface Held {
  readonly credential: Secret;
  readonly password: string;
  readonly verifier: Secret | undefined;
}

interface Change {
  readonly change: NonNullable<CredentialPlan['apply']>;
  readonly untilMs?: number;
  /** Whether a client can log in by what is there. */
  readonly made: boolean;
}

function changeOf(
  user: SmtpUser,
  endpoint: Endpoint,
  { credential, password, verifier }: Held,
  asked: { readonly password: string | undefined; readonly rotation: string | undefined },
  nowMs: number,
): Change {
  if (asked.password !== undefined && asked.password !== password) {
    const { rotation } = asked;
    return { change: [credentialSecret(user, endpoint, { password: asked.password, rotation })], made: false };
  }
  const rotation = credential.annotations[ROTATION];
  const verifiers = readVerifiers(user, verifier);
  if (!verifier || !verifiers || !verifies(verifier, password)) {
    const rotated = rotation !== undefined && rotation !== verifier?.annotations[ROTATION];
    const previous: Previous | undefined =
      rotated && verifiers
        ? { verifier: verifiers.verifier, untilMs: nowMs + durationMs(user.spec.passwordRotation.overlap) }
        : undefined;
    const wanted = credentialSecret(user, endpoint, { password, rotation });
    return {
      change: [
        ...(isDeepStrictEqual(credential, wanted) ? [] : [wanted]),
        verifierRecipe(user, { password, rotation, previous }),
      ],
      // The password before goes on working meanwhile.
      made: previous !== undefined,
    };
  }
  if (asked.rotation !== undefined && asked.rotation !== rotation && asked.password === undefined) {
    return { change: [credentialRecipe(user, endpoint, { rotation: asked.rotation })], made: true };
  }
  const untilMs = previousUntilMs(verifier);
  const isOver = untilMs !== undefined && untilMs <= nowMs;
  const wanted = credentialSecret(user, endpoint, { password, rotation });
  return {
    change: [
      ...(isDeepStrictEqual(credential, wanted) ? [] : [wanted]),
      ...(isOver ? [withoutPrevious(verifier)] : []),
    ],
    ...(untilMs !== undefined && !isOver && { untilMs }),
    made: true,
  };
}

const notReady = (reason: string, message: string): Judgement => ({
  type: 'CredentialReady',
  status: 'False',
  reason,
  message,
});

/** The endpoint, or why there is none yet. */
function endpointOf({ user, relay, ca, submissionHost }: ObservedUser): Endpoint | Judgement {
  const { name } = user.spec.relayRef;
  const listener = relay && endpointListener(relay);
  if (!listener) {
    const message = `SmtpRelay ${name} has no listener where every client has TLS: add one with tls Required.`;
    return notReady('NoSecureListener', message);
  }
  const caCertificate = caCertificateOf(relay, ca);
  if (caCertificate === undefined) {
    return notReady('WaitingForCertificate', `SmtpRelay ${name} has no certificate yet.`);
  }
  return { host: submissionHost, ...listener, caCertificate };
}
