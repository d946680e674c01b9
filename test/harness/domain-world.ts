/** Test support: the world that policies judge in, of a few objects. */
import type { MailDomain } from '../../crds/maildomain.ts';
import type { SmtpRelay } from '../../crds/smtprelay.ts';
import { domainWorld } from '../../operator/maildomain/controller.ts';
import type { DomainWorld } from '../../operator/maildomain/policies.ts';
import { relay } from './manifests.ts';
import { MemoryBackend } from './memory-backend.ts';

type Labels = Readonly<Record<string, string>>;

/** @param relays by default a relay called outbound in each namespace that has a domain */
export function worldOf(
  domains: readonly MailDomain[],
  relays: readonly SmtpRelay[] = [...new Set(domains.map(({ metadata }) => metadata.namespace))].map((namespace) =>
    relay('outbound', {}, { namespace }),
  ),
  namespaces: Readonly<Record<string, Labels>> = {},
): DomainWorld {
  const backend = new MemoryBackend();
  for (const object of [...domains, ...relays]) backend.put(object);
  for (const [name, labels] of Object.entries(namespaces)) backend.label(name, labels);
  return domainWorld({ objects: backend.objects, namespaces: backend.namespaces, revision: 0 });
}
