/** The records of a domain, found among the MailDomains of the state folder. */
import { domainToASCII } from 'node:url';
import { durationMs } from '../crds/duration.ts';
import type { MailDomain } from '../crds/maildomain.ts';
import { keyOf } from '../crds/resource.ts';
import type { DnsRecord } from '../operator/dns/records.ts';
import { splitText } from '../operator/dns/zone.ts';
import { Failure } from './failure.ts';
import { table } from './table.ts';

export interface DomainRecords {
  readonly records: readonly DnsRecord[];
  readonly ttlSeconds: number;
}

/**
 * What to publish for a domain, as the operator last told it.
 * @throws {Failure} when no MailDomain has records for it, with the reason
 */
export function domainRecords(domain: string, objects: readonly MailDomain[]): DomainRecords {
  const name = domainToASCII(domain.replace(/\.$/, ''));
  const candidates = objects.filter(({ spec }) => spec.domain.toLowerCase() === name);
  const inForce = candidates.find(({ status }) => (status?.dnsRecords ?? []).length > 0);
  if (inForce) {
    const records = (inForce.status?.dnsRecords ?? []).filter(isRecord);
    return { records, ttlSeconds: durationMs(inForce.spec.dns.ttl) / 1000 };
  }
  const [candidate] = candidates;
  if (!candidate) {
    const known = objects.map(({ spec }) => spec.domain).join(', ') || 'none';
    throw new Failure(`no MailDomain is for ${domain}; there are: ${known}`);
  }
  const refusal = candidate.status?.conditions?.find(({ type, status }) => type === 'Accepted' && status === 'False');
  throw new Failure(
    refusal
      ? `MailDomain ${keyOf(candidate)} is not in force: ${refusal.message}`
      : `MailDomain ${keyOf(candidate)} has no records yet: is "chasqui standalone" running?`,
  );
}

const TYPES: readonly string[] = ['TXT', 'A', 'AAAA', 'PTR'] satisfies DnsRecord['type'][];
const isRecord = (record: { type: string; name: string; value: string }): record is DnsRecord =>
  TYPES.includes(record.type);

export const recordTable = (records: readonly DnsRecord[]): string =>
  table(
    ['TYPE', 'NAME', 'VALUE'],
    records.map(({ type, name, value }) => [type, name, type === 'TXT' ? textValue(value) : value]),
  );

function textValue(value: string): string {
  const strings = splitText(value);
  return strings.length === 1 ? value : strings.map((text) => `"${text}"`).join(' ');
}
