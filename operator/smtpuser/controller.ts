/** SmtpUser: judges what a user may send as, and makes its credential. */
import type { ObjectKey } from '../../crds/resource.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import type { Reference, Secret } from '../backend.ts';
import { domainWorld } from '../maildomain/controller.ts';
import { type DomainWorld, domainOf } from '../maildomain/policies.ts';
import { isSameKey, relayKey } from '../references.ts';
import { type Judgement, readyFrom, setConditions, timestamp } from '../runtime/conditions.ts';
import { ownerOf, ownership } from '../runtime/ownership.ts';
import type { Clock, Controller, Plan } from '../runtime/plan.ts';
import { caSecretName } from '../smtprelay/certificates.ts';
import { entryProgrammed, type RelayView } from '../smtprelay/programmed.ts';
import { findUser } from '../smtprelay/relay-group.ts';
import { credentialName, usernameOf, verifierName } from './names.ts';
import { planCredential } from './plan-credential.ts';
import { judgeUser, senderDomain } from './policies.ts';
import { userDocument } from './user-document.ts';
import { readVerifiers } from './verifier.ts';

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
  /** What stands where its password is to come from, if it is the user's own. */
  readonly password: Reference | undefined;
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
    const own = user.spec.passwordSecretRef;
    return {
      user,
      world: domainWorld(outside),
      relay: objects.get('SmtpRelay', ref),
      view: { name: ref.name, replicas: relays.observe(ref), groups: groups(ref) },
      submissionHost: submissionHost(ref),
      ca: await secrets.get(ref.namespace, caSecretName(ref.name)),
      credential: await secrets.get(namespace, credentialName(user)),
      verifier: await secrets.get(namespace, verifierName(user)),
      password: own && (await secrets.reference(namespace, own.name)),
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
  const { judgement: credential, untilMs, ...secrets } = planCredential(accepted, observed, clock());
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
      ...(untilMs !== undefined && { previousPasswordUntil: timestamp(untilMs) }),
    },
    ...(untilMs !== undefined && { againMs: Math.max(untilMs - clock(), 0) }),
  };
}

/** Where the credential is: under its former name until the Secret that the spec names is ours. */
function secretName({ user, credential }: ObservedUser): { readonly secretName?: string } {
  if (credential && ownership(credential, ownerOf(user)) === 'Ours') return { secretName: credential.name };
  return user.status?.secretName === undefined ? {} : { secretName: user.status.secretName };
}

function userProgrammed(accepted: Judgement, { user, verifier, view }: ObservedUser): Judgement {
  const made = readVerifiers(user, verifier);
  if (accepted.status !== 'True' || !made) {
    return { type: 'Programmed', status: 'False', reason: 'NotAccepted', message: 'Relays do not know the user.' };
  }
  const entry = userDocument(user, made);
  return entryProgrammed([view], (group) => findUser(group, entry), user.status?.conditions);
}
