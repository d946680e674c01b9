/** The records of a domain, found among the MailDomains of the state folder. */
import { domainToASCII } from 'node:url';
import { durationMs } from '../crds/duration.ts';
import type { MailDomain, MailDomainStatus } from '../crds/maildomain.ts';
import { keyOf } from '../crds/resource.ts';
import type { DnsRecord } from '../operator/dns/records.ts';
import { splitText } from '../operator/dns/zone.ts';
import { Failure } from './failure.ts';
import { colours, table } from './table.ts';

export interface PublishedRecord extends DnsRecord {
  /** What DNS has of it; absent where it was not looked at. */
  readonly state?: 'Published' | 'Missing' | 'Wrong';
  readonly observed?: string;
}

export type DomainKey = NonNullable<MailDomainStatus['dkim']>['keys'][number];

export interface DomainRecords {
  readonly records: readonly PublishedRecord[];
  readonly keys: readonly DomainKey[];
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
    const keys = inForce.status?.dkim?.keys ?? [];
    return { records, keys, ttlSeconds: durationMs(inForce.spec.dns.ttl) / 1000 };
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
const isRecord = (record: { type: string; name: string; value: string }): record is PublishedRecord =>
  TYPES.includes(record.type);

const STATE_COLOUR = { Published: colours.green, Missing: colours.yellow, Wrong: colours.red };

/** States have a column where any is known. */
export function recordTable(records: readonly PublishedRecord[]): string {
  const looked = records.some(({ state }) => state !== undefined);
  return table(
    ['TYPE', 'NAME', ...(looked ? ['STATE'] : []), 'VALUE'],
    records.map(({ type, name, state, value }) => [
      type,
      name,
      ...(looked ? [state ? { text: state, paint: STATE_COLOUR[state] } : 'unknown'] : []),
      type === 'TXT' ? textValue(value) : value,
    ]),
  );
}

export const keyTable = (keys: readonly DomainKey[]): string =>
  table(
    ['KEY', 'ALGORITHM', 'STATE', 'SINCE'],
    keys.map(({ selector, algorithm, state, created, activated, retired }) => [
      selector,
      algorithm,
      state,
      { Publishing: created, Active: activated, Retiring: retired }[state] ?? '',
    ]),
  );

/** What is left to do by hand, a line each; empty when nothing is. */
export function advice({ records, keys }: Pick<DomainRecords, 'records' | 'keys'>): string[] {
  const wrong = records.flatMap((record) => {
    const text = recordAdvice(record);
    return text === undefined ? [] : [text];
  });
  const retiring = keys.flatMap(({ selector, state, removedAfter }) =>
    state === 'Retiring'
      ? [`Leave the record of ${selector} until ${removedAfter ?? 'it is gone from this list'}.`]
      : [],
  );
  return [...wrong, ...retiring];
}

function recordAdvice({ type, name, value, state, observed }: PublishedRecord): string | undefined {
  if (state === undefined || state === 'Published') return undefined;
  const found = observed === undefined ? '' : ` Found: ${observed}`;
  if (type === 'PTR') return `Ask the owner of the address for ${name} PTR ${value}.${found}`;
  return state === 'Missing' ? `Publish ${type} ${name}.${found}` : `Correct ${type} ${name}.${found}`;
}

function textValue(value: string): string {
  const strings = splitText(value);
  return strings.length === 1 ? value : strings.map((text) => `"${text}"`).join(' ');
}
