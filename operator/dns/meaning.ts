/**
 * What a DNS answer means beside the record that was wanted. Text is compared by what a receiver makes of it, not by its
 * bytes: order of tags, white space, and how a value is cut into strings do not matter.
 */
import { isIPv6 } from 'node:net';
import { expandIPv6 } from './ip.ts';
import type { WantedRecord } from './records.ts';
import { tagList } from './tag-list.ts';

export interface Finding {
  readonly state: 'Published' | 'Missing' | 'Wrong';
  /** What is wrong, for a person, with what DNS has. */
  readonly observed?: string;
}

const PUBLISHED: Finding = { state: 'Published' };
const MISSING: Finding = { state: 'Missing' };
const wrong = (observed: string): Finding => ({ state: 'Wrong', observed });

/** Of records whose answer alone decides; SPF is evaluated instead, by `spf.ts`. */
type Plain = Exclude<WantedRecord, { readonly addresses: readonly string[] }>;

/** @param values what a name server has of the type at the name; the strings of a TXT record joined */
export function judgeAnswer(wanted: Plain, values: readonly string[]): Finding {
  if (wanted.purpose === 'Dkim') return judgeDkim(wanted.value, values);
  if (wanted.purpose === 'Dmarc') return judgeDmarc(wanted.value, values);
  if (values.length === 0) return MISSING;
  const same = wanted.type === 'PTR' ? sameName : sameAddress;
  return values.some((value) => same(value, wanted.value)) ? PUBLISHED : wrong(`DNS has ${values.join(', ')}`);
}

function judgeDkim(wanted: string, values: readonly string[]): Finding {
  if (values.length === 0) return MISSING;
  // RFC 6376 3.6.2.2: with several the result is undefined.
  if (values.length > 1) return wrong(`there are ${values.length} TXT records; keep one`);
  const [value = ''] = values;
  const tags = tagList(value);
  if (!tags) return wrong(`not a DKIM key: ${value}`);
  const key = tagList(wanted);
  const complaint = DKIM_CHECKS.find(({ holds }) => !holds(tags, key ?? new Map()))?.complaint;
  return complaint === undefined ? PUBLISHED : wrong(`${complaint}: ${value}`);
}

type Tags = ReadonlyMap<string, string>;
const compact = (value: string | undefined): string => (value ?? '').replace(/\s/g, '');
const words = (value: string): readonly string[] =>
  value
    .toLowerCase()
    .split(':')
    .map((word) => word.trim());

/** RFC 6376 3.6.1, in the order in which a verifier finds out. */
const DKIM_CHECKS: readonly { complaint: string; holds: (tags: Tags, wanted: Tags) => boolean }[] = [
  {
    complaint: 'v= must be DKIM1 and come first, or be left out',
    holds: (tags) => !tags.has('v') || (tags.get('v') === 'DKIM1' && [...tags.keys()][0] === 'v'),
  },
  { complaint: 'the key is revoked, p= is empty', holds: (tags) => compact(tags.get('p')) !== '' },
  {
    complaint: 'another type of key',
    holds: (tags, wanted) => (tags.get('k') ?? 'rsa').toLowerCase() === (wanted.get('k') ?? 'rsa'),
  },
  { complaint: 'another key', holds: (tags, wanted) => compact(tags.get('p')) === compact(wanted.get('p')) },
  { complaint: 'h= leaves out sha256', holds: (tags) => words(tags.get('h') ?? 'sha256').includes('sha256') },
  {
    complaint: 's= leaves out email',
    holds: (tags) => words(tags.get('s') ?? '*').some((service) => service === '*' || service === 'email'),
  },
  {
    complaint: 't=y tells receivers to take the mail as unsigned',
    holds: (tags) => !words(tags.get('t') ?? '').includes('y'),
  },
];

/** RFC 7489 6.6.3: what is no DMARC record is passed over, and of several none counts. */
function judgeDmarc(wanted: string, values: readonly string[]): Finding {
  const records = values.filter((value) => /^v\s*=\s*DMARC1\s*(;|$)/.test(value));
  if (records.length === 0) {
    return values.length === 0 ? MISSING : wrong(`no DMARC record: ${values.join(' and ')}`);
  }
  if (records.length > 1) return wrong(`there are ${records.length} DMARC records, so none counts; keep one`);
  const [record = ''] = records;
  const tags = tagList(record);
  const want = tagList(wanted) ?? new Map<string, string>();
  if (!tags) return wrong(`not a list of tags: ${record}`);
  const policy = tags.get('p')?.toLowerCase();
  if (policy !== want.get('p')) return wrong(`p= is ${policy ?? 'missing'}, not ${want.get('p')}: ${record}`);
  const asked = reportAddresses(tags.get('rua'));
  const left = reportAddresses(want.get('rua')).filter((address) => !asked.includes(address));
  return left.length === 0 ? PUBLISHED : wrong(`rua= leaves out ${left.join(', ')}: ${record}`);
}

/** RFC 7489 6.3: a size limit may follow an exclamation mark. */
const reportAddresses = (rua: string | undefined): readonly string[] =>
  (rua ?? '')
    .split(',')
    .map((uri) =>
      uri
        .trim()
        .replace(/![0-9]+[kmgt]?$/i, '')
        .toLowerCase(),
    )
    .filter((uri) => uri !== '');

const sameName = (a: string, b: string): boolean =>
  a.replace(/\.$/, '').toLowerCase() === b.replace(/\.$/, '').toLowerCase();

const sameAddress = (a: string, b: string): boolean =>
  a === b || (isIPv6(a) && isIPv6(b) && expandIPv6(a) === expandIPv6(b));
