/** Routing: which next hop the mail for a domain takes. The first route that matches wins; without one, its MX. */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import type { ConfigSource } from '../config/config.ts';
import type { RouteSettings, SettingsDocument, SmarthostSettings } from '../config/documents.ts';
import type { Router } from './deliverer.ts';

export type NextHop =
  | { readonly key: string; readonly smarthosts: readonly SmarthostSettings[] }
  | { readonly key: string; readonly domain: string };

/** @param domain lower case, A-labels */
export function nextHopOf(routes: readonly RouteSettings[], domain: string): NextHop {
  for (const { domains, smarthosts } of routes) {
    if (domains.some((pattern) => matches(pattern, domain))) return { key: keyOf(smarthosts), smarthosts };
  }
  return { key: domain, domain };
}

export function matches(pattern: string, domain: string): boolean {
  if (pattern === '*') return true;
  return pattern.startsWith('*.') ? domain.endsWith(pattern.slice(1)) : pattern === domain;
}

/** The same for routes that lead to the same hosts as the same client, so that they share connections and their limit. */
function keyOf(smarthosts: readonly SmarthostSettings[]): string {
  return smarthosts
    .map(({ host, port, credentials }) => {
      const login = credentials === undefined ? '' : `${credentials}@`;
      return `smtp:${login}${isIP(host) === 6 ? `[${host}]` : host.toLowerCase()}:${port}`;
    })
    .join(',');
}

/** The domain of an address as it is routed: lower case, A-labels; an address literal stays in its brackets. */
export function domainOf(address: string): string {
  const domain = address.slice(address.lastIndexOf('@') + 1).toLowerCase();
  return /\P{ASCII}/u.test(domain) ? domainToASCII(domain) || domain : domain;
}

/** Items of each next hop, in the order in which the hops first occur. */
export function groupByNextHop<Item extends { readonly address: string }>(
  delivery: SettingsDocument['delivery'],
  items: readonly Item[],
): readonly { readonly hop: NextHop; readonly items: readonly Item[] }[] {
  const groups = new Map<string, { hop: NextHop; items: Item[] }>();
  for (const item of items) {
    const hop = nextHopOf(delivery.routes, domainOf(item.address));
    const group = groups.get(hop.key);
    if (group) group.items.push(item);
    else groups.set(hop.key, { hop, items: [item] });
  }
  return [...groups.values()];
}

export const createRouter = (config: ConfigSource): Router => ({
  destinationOf: (domain) => nextHopOf(config.current().settings.delivery.routes, domain).key,
});
