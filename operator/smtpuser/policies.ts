/** Which SmtpUsers are in force. */
import { domainToASCII } from 'node:url';
import type { SmtpUser } from '../../crds/smtpuser.ts';
import { type DomainWorld, isAccepted } from '../maildomain/policies.ts';
import type { Judgement } from '../runtime/conditions.ts';
import { credentialName, verifierName } from './names.ts';

type Refusal = Pick<Judgement, 'reason' | 'message'>;
type Policy = (user: SmtpUser, world: DomainWorld) => Refusal | undefined;

/** In the order in which they are asked; the first refusal counts. */
const POLICIES: readonly Policy[] = [relayExists, sendersAreAllowed, secretNameIsFree];

/** Condition Accepted. */
export function judgeUser(user: SmtpUser, world: DomainWorld): Judgement {
  for (const policy of POLICIES) {
    const refusal = policy(user, world);
    if (refusal) return { type: 'Accepted', status: 'False', ...refusal };
  }
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'All senders are granted.' };
}

function relayExists({ metadata: { namespace }, spec }: SmtpUser, world: DomainWorld): Refusal | undefined {
  const { name } = spec.relayRef;
  if (world.relayExists({ namespace, name })) return undefined;
  const message = `spec.relayRef: there is no SmtpRelay ${name} in namespace ${namespace}. Create it, or name another.`;
  return { reason: 'RelayNotFound', message };
}

function sendersAreAllowed(user: SmtpUser, world: DomainWorld): Refusal | undefined {
  for (const sender of user.spec.senders) {
    const why = whyNotAllowed(sender, user, world);
    if (why !== undefined) return { reason: 'SenderNotAllowed', message: `spec.senders: ${sender}: ${why}` };
  }
  return undefined;
}

/** A domain is lent only to users of its own namespace, and only on the relays that may send as it. */
function whyNotAllowed(sender: string, user: SmtpUser, world: DomainWorld): string | undefined {
  const domain = senderDomain(sender);
  if (domain === '') return 'this is no domain.';
  const holder = world.holders.get(domain);
  if (!holder || holder.metadata.namespace !== user.metadata.namespace || !isAccepted(holder, world)) {
    return `no accepted MailDomain of namespace ${user.metadata.namespace} is for ${domain}.`;
  }
  const relay = user.spec.relayRef.name;
  if (holder.spec.relayRefs.some(({ name }) => name === relay)) return undefined;
  return `MailDomain ${holder.metadata.name} does not name SmtpRelay ${relay} in its relayRefs.`;
}

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
