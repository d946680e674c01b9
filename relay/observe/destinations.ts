/**
 * Names under which outcomes are counted by destination. A destination is what a sender chooses, so only so many get a
 * name of their own; mail hosted by a large provider counts as the provider's, whichever domain it is for.
 */

/** Names beside those of providers. */
const MOST_NAMES = 100;
export const OTHER = 'other';

/** By the end of the name of the host that answered: who runs it. */
const PROVIDERS: readonly (readonly [suffix: string, provider: string])[] = [
  ['.google.com', 'google'],
  ['.googlemail.com', 'google'],
  ['.outlook.com', 'microsoft'],
  ['.yahoodns.net', 'yahoo'],
  ['.mail.icloud.com', 'apple'],
  ['.gmx.net', 'gmx'],
  ['.web.de', 'gmx'],
  ['.kundenserver.de', 'ionos'],
  ['.ovh.net', 'ovh'],
  ['.mail.ru', 'mailru'],
  ['.yandex.net', 'yandex'],
  ['.yandex.ru', 'yandex'],
  ['.qq.com', 'qq'],
  ['.zoho.com', 'zoho'],
  ['.zoho.eu', 'zoho'],
  ['.messagingengine.com', 'fastmail'],
  ['.protonmail.ch', 'proton'],
  ['.mimecast.com', 'mimecast'],
  ['.pphosted.com', 'proofpoint'],
  ['.ppe-hosted.com', 'proofpoint'],
  ['.messagelabs.com', 'symantec'],
  ['.iphmx.com', 'cisco'],
  ['.barracudanetworks.com', 'barracuda'],
];

/** @returns undefined for a host of nobody in the list */
export function providerOf(host: string): string | undefined {
  const name = `.${host.toLowerCase().replace(/\.$/, '')}`;
  return PROVIDERS.find(([suffix]) => name.endsWith(suffix))?.[1];
}

/** The first destinations that occur keep their names as long as the process lives: a counter must not change its name. */
export class DestinationNames {
  readonly #names = new Set<string>();

  /**
   * @param destination next hop: a domain, or the smarthosts of a route
   * @param host that answered, where one did
   */
  of(destination: string, host: string | undefined): string {
    const provider = host === undefined ? undefined : providerOf(host);
    if (provider !== undefined) return provider;
    if (this.#names.has(destination)) return destination;
    if (this.#names.size === MOST_NAMES) return OTHER;
    this.#names.add(destination);
    return destination;
  }
}
