/** Which MailDomains are in force. One domain is held by one MailDomain, in whatever namespace it is. */
import type { MailDomain } from '../../crds/maildomain.ts';
import { keyOf, type ObjectKey } from '../../crds/resource.ts';
import type { Judgement } from '../runtime/conditions.ts';

export interface DomainWorld {
  /** Whether there is an SmtpRelay of this name. */
  readonly relayExists: (relay: ObjectKey) => boolean;
  /** Holder of each domain, by its name in lower case. */
  readonly holders: ReadonlyMap<string, MailDomain>;
}

type Refusal = Pick<Judgement, 'reason' | 'message'>;
type Policy = (domain: MailDomain, world: DomainWorld) => Refusal | undefined;

/** In the order in which they are asked; the first refusal counts. */
const POLICIES: readonly Policy[] = [relaysExist, domainIsNotHeldByAnother];

/** Condition Accepted. */
export function judgeDomain(domain: MailDomain, world: DomainWorld): Judgement {
  for (const policy of POLICIES) {
    const refusal = policy(domain, world);
    if (refusal) return { type: 'Accepted', status: 'False', ...refusal };
  }
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'The domain is ours and its relays exist.' };
}

export const isAccepted = (domain: MailDomain, world: DomainWorld): boolean =>
  judgeDomain(domain, world).status === 'True';

export const domainOf = ({ spec }: MailDomain): string => spec.domain.toLowerCase();

function relaysExist(domain: MailDomain, { relayExists }: Pick<DomainWorld, 'relayExists'>): Refusal | undefined {
  const { namespace } = domain.metadata;
  const missing = domain.spec.relayRefs.find(({ name }) => !relayExists({ namespace, name }));
  if (!missing) return undefined;
  const message = `spec.relayRefs: there is no SmtpRelay ${missing.name} in namespace ${namespace}. Create it, or name another.`;
  return { reason: 'RelayNotFound', message };
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
export function domainHolders(
  domains: readonly MailDomain[],
  relayExists: DomainWorld['relayExists'],
): ReadonlyMap<string, MailDomain> {
  const holders = new Map<string, MailDomain>();
  for (const domain of domains) {
    if (relaysExist(domain, { relayExists })) continue;
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
