/** SmtpUser: judges what a user may send as, and makes its credential. */
import { isDeepStrictEqual } from 'node:util';
import type { ObjectKey } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Secret } from '../backend.ts';
import { domainWorld } from '../maildomain/controller.ts';
import { type DomainWorld, domainOf } from '../maildomain/policies.ts';
import { isSameKey, relayKey } from '../references.ts';
import { secretConflict } from '../runtime/apply-plan.ts';
import { type Judgement, readyFrom, setConditions } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { Clock, Controller, Plan } from '../runtime/plan.ts';
import { caCertificateOf, caSecretName } from '../smtprelay/certificates.ts';
import { entryProgrammed, type RelayView } from '../smtprelay/programmed.ts';
import { findUser } from '../smtprelay/relay-group.ts';
import {
  CREDENTIAL,
  credentialRecipe,
  credentialSecret,
  type Endpoint,
  endpointListener,
  readVerifier,
  verifierRecipe,
  verifies,
} from './credential.ts';
import { credentialName, usernameOf, verifierName } from './names.ts';
import { judgeUser, senderDomain } from './policies.ts';
import { userDocument } from './user-document.ts';

export interface ObservedUser {
  readonly user: SmtpUser;
  readonly world: DomainWorld;
  readonly relay: SmtpRelay | undefined;
  readonly view: RelayView;
  readonly submissionHost: string;
  readonly ca: Secret | undefined;
  /** What stands under the names of its Secrets. */
  readonly credential: Secret | undefined;
  readonly verifier: Secret | undefined;
  /** The Secret that held the credential so far, where the spec now names another. */
  readonly former: Secret | undefined;
}

export const smtpUserController: Controller<'SmtpUser', ObservedUser> = {
  kind: 'SmtpUser',

  async observe(key, outside) {
    const { objects, secrets, relays, groups, submissionHost } = outside;
    const user = objects.get('SmtpUser', key);
    if (!user) return undefined;
    const { namespace } = key;
    const ref = relayKey(namespace, user.spec.relayRef);
    return {
      user,
      world: domainWorld(outside),
      relay: objects.get('SmtpRelay', ref),
      view: { name: ref.name, replicas: relays.observe(ref), groups: groups(ref) },
      submissionHost: submissionHost(ref),
      ca: await secrets.get(ref.namespace, caSecretName(ref.name)),
      credential: await secrets.get(namespace, credentialName(user)),
      verifier: await secrets.get(namespace, verifierName(user)),
      former: hasMoved(user) ? await secrets.get(namespace, user.status.secretName) : undefined,
    };
  },

  plan: planUser,

  affectedBy(kind, key, objects) {
    if (kind === 'SmtpUser') return [key];
    const users = objects.list('SmtpUser');
    if (kind === 'SmtpRelay') return users.filter((user) => isSameKey(relayOf(user), key)).map(keyFrom);
    const changed = objects.get('MailDomain', key);
    // One that is gone may have been for any domain.
    const concerns = ({ spec }: SmtpUser): boolean =>
      !changed || spec.senders.some((sender) => senderDomain(sender) === domainOf(changed));
    return users.filter(concerns).map(keyFrom);
  },

  async forget({ namespace, name }, secrets) {
    for (const secret of await secrets.ownedBy(namespace, { kind: 'SmtpUser', name })) {
      await secrets.delete(namespace, secret.name);
    }
  },
};

/** The status names the Secret that holds the credential, until the one that the spec names does. */
const hasMoved = (user: SmtpUser): user is SmtpUser & { status: { secretName: string } } =>
  user.status?.secretName !== undefined && user.status.secretName !== credentialName(user);

const relayOf = ({ metadata, spec }: SmtpUser): ObjectKey => relayKey(metadata.namespace, spec.relayRef);

const keyFrom = ({ metadata: { namespace, name } }: SmtpUser): ObjectKey => ({ namespace, name });

export function planUser(observed: ObservedUser, clock: Clock): Plan<'SmtpUser'> {
  const { user, world } = observed;
  const accepted = judgeUser(user, world);
  const { judgement: credential, ...secrets } = planCredential(accepted, observed);
  const programmed = userProgrammed(accepted, observed);
  const judgements = [accepted, credential, programmed];
  return {
    ...secrets,
    secretCondition: credential.type,
    status: {
      observedGeneration: user.metadata.generation,
      conditions: setConditions(user, [...judgements, readyFrom(judgements)], clock),
      username: usernameOf(user),
      ...secretName(observed),
    },
  };
}

/** Where the credential is: under its former name until the Secret that the spec names is ours. */
function secretName({ user, credential }: ObservedUser): { readonly secretName?: string } {
  if (credential && ownership(credential, ownerOf(user)) === 'Ours') return { secretName: credential.name };
  return user.status?.secretName === undefined ? {} : { secretName: user.status.secretName };
}

type CredentialPlan = Pick<Plan<'SmtpUser'>, 'create' | 'apply' | 'delete'> & { readonly judgement: Judgement };

function planCredential(accepted: Judgement, observed: ObservedUser): CredentialPlan {
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

  // Names are unique, so what another uid left under our name is a predecessor's: its password must not work on.
  const isOurs = (secret: Secret | undefined): secret is Secret =>
    secret !== undefined && ownership(secret, ownerOf(user)) === 'Ours';
  const stale = [credential, verifier].filter((secret) => secret !== undefined && !isOurs(secret));
  const former = isOurs(observed.former) && observed.former.purpose === CREDENTIAL ? observed.former : undefined;
  const password = isOurs(credential) ? credential.data.password : undefined;
  // An editor empties a file before it writes: a password is about to come, and must not be taken for a loss.
  if (password === '') {
    return { judgement: notReady('PasswordEmpty', `The password in Secret ${credential?.name} is empty: write one.`) };
  }
  if (!credential || password === undefined) {
    return {
      // One of ours without a password is of no use to anyone, and in the way of a new one.
      delete: [...stale, ...(isOurs(credential) ? [credential] : [])],
      create: [credentialRecipe(user, endpoint, former?.data.password)],
      judgement: notReady('CredentialMissing', 'The credential is being made.'),
    };
  }
  const wanted = credentialSecret(user, endpoint, password);
  const verified = isOurs(verifier) && readVerifier(user, verifier) !== undefined && verifies(verifier, password);
  return {
    delete: [...stale, ...(former ? [former] : [])],
    // What is as it should be is not written again: it could replace a password that was put there meanwhile.
    apply: [
      ...(isDeepStrictEqual(credential, wanted) ? [] : [wanted]),
      ...(verified ? [] : [verifierRecipe(user, password)]),
    ],
    judgement: verified
      ? {
          type: 'CredentialReady',
          status: 'True',
          reason: 'CredentialReady',
          message: `Secret ${credential.name} holds it.`,
        }
      : notReady('VerifierMissing', 'The verifier is being made.'),
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

function userProgrammed(accepted: Judgement, { user, verifier, view }: ObservedUser): Judgement {
  const made = readVerifier(user, verifier);
  if (accepted.status !== 'True' || !made) {
    return { type: 'Programmed', status: 'False', reason: 'NotAccepted', message: 'Relays do not know the user.' };
  }
  const entry = userDocument(user, made);
  return entryProgrammed([view], (group) => findUser(group, entry), user.status?.conditions);
}
