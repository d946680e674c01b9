/** Where the mail of a domain is taken, by DNS (RFC 5321 5.1, RFC 7505). */
import { isIPv4, isIPv6 } from 'node:net';
import type { Reply } from '../spool/envelope.ts';
import { type Dns, DnsFailure, type MxRecord } from './dns.ts';
import { ownReply } from './reply.ts';

export interface MxHost {
  readonly host: string;
  readonly addresses: () => Promise<readonly string[]>;
}

/** The hosts to try, in order; or why there is none: a 4xx may pass, a 5xx does not. */
export type MxAnswer =
  | {
      readonly hosts: readonly MxHost[];
      /** What it means when none of the hosts has an address. */
      readonly unreachable: Reply;
    }
  | { readonly reply: Reply };

/**
 * @param domain lower case, A-labels, or an address literal in brackets
 * @param self our own host name: it and hosts less preferred are left out, or mail would circle (RFC 5321 5.1)
 * @param random in [0, 1)
 */
export async function findMx(dns: Dns, domain: string, self: string, random: () => number): Promise<MxAnswer> {
  if (domain.startsWith('[')) return literal(domain);
  let records: readonly MxRecord[];
  try {
    records = await dns.mx(domain);
  } catch (error) {
    if (!(error instanceof DnsFailure)) throw error;
    if (error.kind === 'no-domain') return { reply: ownReply(550, '5.1.2', `the domain ${domain} does not exist`) };
    if (error.kind === 'temporary') return { reply: ownReply(451, '4.4.3', `cannot look up the MX of ${domain}`) };
    // RFC 5321 5.1: a domain without MX is its own MX ("implicit MX").
    return {
      hosts: [hostOf(dns, domain)],
      unreachable: ownReply(550, '5.1.2', `the domain ${domain} has neither an MX nor an address`),
    };
  }
  if (isNullMx(records)) return { reply: ownReply(556, '5.1.10', `the domain ${domain} takes no mail (null MX)`) };
  const others = withoutSelf(inOrder(records, random), self);
  if (others.length === 0) return { reply: ownReply(554, '5.4.6', `mail for ${domain} would loop back to this relay`) };
  return {
    hosts: others.map(({ exchange }) => hostOf(dns, exchange)),
    unreachable: ownReply(550, '5.4.4', `no MX host of ${domain} has an address`),
  };
}

/** Whether a domain declares that it takes no mail. Without an answer in time: no, delivery will find out. */
export async function hasNullMx(dns: Dns, domain: string, timeoutMs: number): Promise<boolean> {
  const { promise: timeout, resolve } = Promise.withResolvers<readonly MxRecord[]>();
  const timer = setTimeout(resolve, timeoutMs, []);
  try {
    return isNullMx(await Promise.race([dns.mx(domain), timeout]));
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

const hostOf = (dns: Dns, host: string): MxHost => ({ host, addresses: () => dns.addresses(host) });

/** RFC 7505 3: a null MX is the only record; beside others it is void. */
const isNullMx = (records: readonly MxRecord[]): boolean => records.length === 1 && isRoot(records[0]);
const isRoot = (record: MxRecord | undefined): boolean => record?.exchange === '' || record?.exchange === '.';

/** By preference, equals in random order (RFC 5321 5.1), so that they share the load. */
function inOrder(records: readonly MxRecord[], random: () => number): readonly MxRecord[] {
  return records
    .filter((record) => !isRoot(record))
    .map((record) => ({ record, draw: random() }))
    .toSorted((a, b) => a.record.priority - b.record.priority || a.draw - b.draw)
    .map(({ record }) => record);
}

function withoutSelf(ordered: readonly MxRecord[], self: string): readonly MxRecord[] {
  const own = ordered.find(({ exchange }) => exchange.toLowerCase() === self.toLowerCase());
  return own ? ordered.filter(({ priority }) => priority < own.priority) : ordered;
}

/** RFC 5321 4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]. */
function literal(domain: string): MxAnswer {
  const address = domain.slice(1, -1).replace(/^ipv6:/i, '');
  const valid = domain.endsWith(']') && (/^\[ipv6:/i.test(domain) ? isIPv6(address) : isIPv4(address));
  const unreachable = ownReply(550, '5.1.2', `${domain} is no address`);
  if (!valid) return { reply: unreachable };
  return { hosts: [{ host: domain, addresses: () => Promise.resolve([address]) }], unreachable };
}
