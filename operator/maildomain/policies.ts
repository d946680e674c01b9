/** Which MailDomains are in force. One domain is held by one MailDomain, in whatever namespace it is. */
import type { MailDomain } from '../../crds/maildomain.ts';
import { keyOf, type ObjectKey } from '../../crds/resource.ts';
import { type LabelsOf, relayKeys } from '../references.ts';
import type { Judgement } from '../runtime/conditions.ts';

export interface DomainWorld {
  readonly relayFor: RelayFor;
  readonly labelsOf: LabelsOf;
  /** Holder of each domain, by its name in lower case. */
  readonly holders: ReadonlyMap<string, MailDomain>;
}

/** How an SmtpRelay stands to objects of a namespace. */
export type RelayFor = (relay: ObjectKey, namespace: string) => 'Open' | 'Closed' | 'Missing';

type Refusal = Pick<Judgement, 'reason' | 'message'>;
type Policy = (domain: MailDomain, world: DomainWorld) => Refusal | undefined;

/** In the order in which they are asked; the first refusal counts. */
const POLICIES: readonly Policy[] = [relaysAreOpen, domainIsNotHeldByAnother];

/** Condition Accepted. */
export function judgeDomain(domain: MailDomain, world: DomainWorld): Judgement {
  for (const policy of POLICIES) {
    const refusal = policy(domain, world);
    if (refusal) return { type: 'Accepted', status: 'False', ...refusal };
  }
  return {
    type: 'Accepted',
    status: 'True',
    reason: 'Accepted',
    message: 'The domain is ours, and its relays take it.',
  };
}

export const isAccepted = (domain: MailDomain, world: DomainWorld): boolean =>
  judgeDomain(domain, world).status === 'True';

export const domainOf = ({ spec }: MailDomain): string => spec.domain.toLowerCase();

function relaysAreOpen(domain: MailDomain, { relayFor }: Pick<DomainWorld, 'relayFor'>): Refusal | undefined {
  for (const relay of relayKeys(domain.metadata.namespace, domain.spec.relayRefs)) {
    const refusal = relayRefusal('spec.relayRefs', 'MailDomains', relay, domain.metadata.namespace, relayFor);
    if (refusal) return refusal;
  }
  return undefined;
}

/** Why objects of a namespace may not refer to a relay, if they may not. */
export function relayRefusal(
  field: string,
  kinds: string,
  relay: ObjectKey,
  namespace: string,
  relayFor: RelayFor,
): Refusal | undefined {
  const standing = relayFor(relay, namespace);
  if (standing === 'Open') return undefined;
  if (standing === 'Missing') {
    const message = `${field}: there is no SmtpRelay ${relay.name} in namespace ${relay.namespace}. Create it, or name another.`;
    return { reason: 'RelayNotFound', message };
  }
  const message = `${field}: SmtpRelay ${relay.namespace}/${relay.name} takes no ${kinds} of namespace ${namespace}. Its spec.allowedNamespaces would have to allow them.`;
  return { reason: 'RelayNotAllowed', message };
}

function domainIsNotHeldByAnother(domain: MailDomain, { holders }: DomainWorld): Refusal | undefined {
  const holder = holders.get(domainOf(domain));
  if (!holder || keyOf(holder) === keyOf(domain)) return undefined;
  const message = `spec.domain: ${domainOf(domain)} is held by MailDomain ${keyOf(holder)}. Remove one of the two.`;
  return { reason: 'DomainHeld', message };
}

/**
 * Who holds each domain. Only MailDomains that could be accepted ask for one. The holder, whose status says so, keeps
 * it: an older manifest that appears later must not take a domain away. Among newcomers age decides, then
 * namespace/name.
 */
export function domainHolders(domains: readonly MailDomain[], relayFor: RelayFor): ReadonlyMap<string, MailDomain> {
  const holders = new Map<string, MailDomain>();
  for (const domain of domains) {
    if (relaysAreOpen(domain, { relayFor })) continue;
    const rival = holders.get(domainOf(domain));
    if (!rival || precedes(domain, rival)) holders.set(domainOf(domain), domain);
  }
  return holders;
}

/** Whether it was in force when it was last judged. */
export const wasAccepted = ({ status }: MailDomain): boolean =>
  status?.conditions?.some(({ type, status: value }) => type === 'Accepted' && value === 'True') ?? false;

function precedes(a: MailDomain, b: MailDomain): boolean {
  if (wasAccepted(a) !== wasAccepted(b)) return wasAccepted(a);
  const age = Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp);
  return age === 0 ? keyOf(a) < keyOf(b) : age < 0;
}
