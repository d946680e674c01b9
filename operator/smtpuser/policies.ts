/** Which SmtpUsers are in force. */
import { domainToASCII } from 'node:url';
import type { MailDomain } from '../../crds/maildomain.ts';
import { keyOf } from '../../crds/resource.ts';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import { type DomainWorld, isAccepted, relayRefusal } from '../maildomain/policies.ts';
import { admits, isSameKey, relayKey, relayKeys } from '../references.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { credentialName, verifierName } from './names.ts';

type Refusal = Pick<Judgement, 'reason' | 'message'>;
type Policy = (user: SmtpUser, world: DomainWorld) => Refusal | undefined;

/** In the order in which they are asked; the first refusal counts. */
const POLICIES: readonly Policy[] = [relayIsOpen, sendersAreAllowed, secretNameIsFree];

/** Condition Accepted. */
export function judgeUser(user: SmtpUser, world: DomainWorld): Judgement {
  for (const policy of POLICIES) {
    const refusal = policy(user, world);
    if (refusal) return { type: 'Accepted', status: 'False', ...refusal };
  }
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'All senders are granted.' };
}

function relayIsOpen({ metadata: { namespace }, spec }: SmtpUser, { relayFor }: DomainWorld): Refusal | undefined {
  return relayRefusal('spec.relayRef', 'SmtpUsers', relayKey(namespace, spec.relayRef), namespace, relayFor);
}

function sendersAreAllowed(user: SmtpUser, world: DomainWorld): Refusal | undefined {
  for (const sender of user.spec.senders) {
    const why = whyNotAllowed(sender, user, world);
    if (why !== undefined) return { reason: 'SenderNotAllowed', message: `spec.senders: ${sender}: ${why}` };
  }
  return undefined;
}

/** A domain is lent only to users of namespaces that it allows, and only on the relays that may send as it. */
function whyNotAllowed(sender: string, user: SmtpUser, world: DomainWorld): string | undefined {
  const { namespace } = user.metadata;
  const domain = senderDomain(sender);
  if (domain === '') return 'this is no domain.';
  const holder = world.holders.get(domain);
  // Whose it is, and whether it is anybody's, is no business of a namespace that it is not lent to.
  if (!(holder && isAccepted(holder, world) && lends(holder, namespace, world))) {
    return `no accepted MailDomain for ${domain} lets SmtpUsers of namespace ${namespace} send as it.`;
  }
  const relay = relayKey(namespace, user.spec.relayRef);
  const named = relayKeys(holder.metadata.namespace, holder.spec.relayRefs);
  if (named.some((other) => isSameKey(other, relay))) return undefined;
  return `MailDomain ${keyOf(holder)} does not name SmtpRelay ${relay.namespace}/${relay.name} in its relayRefs.`;
}

const lends = ({ metadata, spec }: MailDomain, namespace: string, { labelsOf }: DomainWorld): boolean =>
  admits(spec.allowedSenders, metadata.namespace, namespace, labelsOf);

function secretNameIsFree(user: SmtpUser): Refusal | undefined {
  if (credentialName(user) !== verifierName(user)) return undefined;
  const message = `spec.secret.name: ${verifierName(user)} is the Secret that holds the verifier. Choose another name.`;
  return { reason: 'SecretConflict', message };
}

/** In lower-case A-labels, as the relay compares; empty where it is no domain. */
export const senderDomain = (sender: string): string =>
  domainToASCII(sender.slice(sender.lastIndexOf('@') + 1)).toLowerCase();

/** Senders as the relay compares them: the domain in lower-case A-labels. */
export const grantedSenders = ({ spec }: SmtpUser): string[] =>
  [
    ...new Set(spec.senders.map((sender) => `${sender.slice(0, sender.lastIndexOf('@'))}@${senderDomain(sender)}`)),
  ].sort();
