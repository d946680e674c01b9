/** What another program is to publish of a domain. */
import { durationMs } from '../../crds/duration.ts';
import type { MailDomain } from '../../crds/maildomain.ts';
import type { Publication, PublicationState } from '../backend.ts';
import { ownerOf } from '../runtime/ownership.ts';
import type { Plan } from '../runtime/plan.ts';
import type { SeenRecord } from './records.ts';

/** Whether it matters what becomes of its records elsewhere: it asks for that, or did when it was last looked at. */
export const asksForPublication = ({ spec, status }: MailDomain): boolean =>
  spec.dns.publisher === 'ExternalDNS' || (status?.conditions?.some(({ type }) => type === 'DnsPublished') ?? false);

const wasPublished = (state: PublicationState): boolean => state === 'Waiting' || state === 'Read';

/**
 * What external-dns is to publish: names of our own, and the domain itself only where that is wished, since other text
 * stands there too, and external-dns would take its place. Whoever goes back to publishing by hand does it before.
 */
export function planPublication(
  domain: MailDomain,
  records: readonly SeenRecord[],
  state: PublicationState,
): Pick<Plan<'MailDomain'>, 'publish' | 'unpublish'> {
  const { namespace, name } = domain.metadata;
  const { publisher, publishApex, ttl } = domain.spec.dns;
  if (publisher !== 'ExternalDNS') return wasPublished(state) ? { unpublish: { namespace, name } } : {};
  const publish: Publication = {
    namespace,
    name,
    owner: ownerOf(domain),
    records: records
      .filter(
        ({ record: { purpose } }) => purpose === 'Dkim' || purpose === 'Dmarc' || (purpose === 'Spf' && publishApex),
      )
      .map(({ record: { type, name: owner, value } }) => ({ type, name: owner, value })),
    ttlSeconds: durationMs(ttl) / 1000,
    outlives: domain.spec.dkim.deletionPolicy === 'Retain',
  };
  return { publish };
}
