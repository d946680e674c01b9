/** Records as text of a zone file (RFC 1035 5), to be included in a zone of any name server. */
import type { DnsRecord } from './records.ts';

/** Longest character-string of a TXT record, in bytes (RFC 1035 3.3). */
const LONGEST_STRING = 255;

/** The strings a TXT value is published as; a reader puts them together without anything between (RFC 7208 3.3). */
export function splitText(value: string): string[] {
  const bytes = Buffer.from(value);
  const strings: string[] = [];
  // latin1 keeps each byte as one character, so a multi-byte character may be cut like any other bytes.
  for (let start = 0; start === 0 || start < bytes.length; start += LONGEST_STRING) {
    strings.push(bytes.toString('latin1', start, start + LONGEST_STRING));
  }
  return strings;
}

/** RFC 1035 5.1: quote and backslash are escaped, what is not printable ASCII is \DDD. */
const quoted = (text: string): string =>
  `"${text.replace(/["\\]/g, '\\$&').replace(/[^ -~]/g, (byte) => `\\${String(byte.charCodeAt(0)).padStart(3, '0')}`)}"`;

/** What a record holds, as a zone file has it. */
export function recordData({ type, value }: Pick<DnsRecord, 'type' | 'value'>): string {
  if (type === 'TXT') return splitText(value).map(quoted).join(' ');
  return type === 'PTR' ? `${value}.` : value;
}

/**
 * One line per record, with absolute names, so that it means the same in any zone. PTR records are left out: they
 * belong to the reverse zone, which the owner of the addresses keeps.
 * @param ttlSeconds time to live of each record
 */
export function formatZone(records: readonly DnsRecord[], ttlSeconds: number): string {
  return records
    .filter(({ type }) => type !== 'PTR')
    .map((record) => `${record.name}. ${ttlSeconds} IN ${record.type} ${recordData(record)}\n`)
    .join('');
}
