/** The records of a domain with what DNS has of them: for the status, the condition DnsVerified, and events. */
import type { MailDomain, MailDomainStatus } from '../../crds/maildomain.ts';
import type { OperatorEvent } from '../backend.ts';
import { recordId, type Seen } from '../dns/checker.ts';
import { dkimName, type WantedRecord } from '../dns/records.ts';
import type { Judgement } from '../runtime/conditions.ts';
import type { LivingKey } from './rotation.ts';

export interface SeenRecord {
  readonly record: WantedRecord;
  readonly seen: Seen;
}

type Living = Pick<LivingKey, 'selector' | 'state'>;

type StatusRecord = NonNullable<MailDomainStatus['dnsRecords']>[number];

/** What was known before a restart counts until DNS was looked at again. */
export function seenRecords(
  { spec, status }: MailDomain,
  wanted: readonly WantedRecord[],
  looks: ReadonlyMap<string, Seen>,
): SeenRecord[] {
  if (spec.dns.verification === 'Disabled') return wanted.map((record) => ({ record, seen: {} }));
  const before = new Map(status?.dnsRecords?.map((record) => [recordIdOf(record), record]));
  return wanted.map((record) => {
    const look = looks.get(recordId(record));
    const { state, observed } = before.get(recordId(record)) ?? {};
    if (look?.state !== undefined || state === undefined) return { record, seen: look ?? {} };
    const problem = look?.problem;
    return { record, seen: { state, ...(observed !== undefined && { observed }), ...(problem && { problem }) } };
  });
}

const recordIdOf = ({ type, name, value }: StatusRecord): string => `${type} ${name} ${value}`;

export const statusRecord = ({
  record: { type, name, value },
  seen: { state, observed },
}: SeenRecord): StatusRecord => ({
  type,
  name,
  value,
  ...(state !== undefined && { state }),
  ...(observed !== undefined && { observed }),
});

/** Nobody looks, so nothing is known; and since that is how it is wanted, it does not keep the domain from Ready. */
const DISABLED: Judgement = {
  type: 'DnsVerified',
  status: 'Unknown',
  reason: 'VerificationDisabled',
  message: 'spec.dns.verification is Disabled: whether the records are published is not checked.',
};

/** The records of the domain itself: those of the relays' host names are told, and are another's to publish. */
export function dnsVerified(
  { spec }: MailDomain,
  accepted: Judgement,
  records: readonly SeenRecord[],
  keys: readonly Living[],
): Judgement {
  if (spec.dns.verification === 'Disabled') return DISABLED;
  const judged = (status: Judgement['status'], reason: string, message: string): Judgement => ({
    type: 'DnsVerified',
    status,
    reason,
    message,
  });
  if (accepted.status !== 'True') {
    return judged('Unknown', 'NotAccepted', 'DNS is looked at once the domain is accepted.');
  }
  const waiting = waitingNames(spec.domain, keys);
  const own = records.filter(
    ({ record: { purpose, name } }) =>
      (purpose === 'Dkim' && !waiting.has(name)) || purpose === 'Spf' || purpose === 'Dmarc',
  );
  const bad = own.filter(({ seen: { state } }) => state === 'Wrong' || state === 'Missing');
  if (bad.length > 0) {
    const reason = bad.some(({ seen }) => seen.state === 'Wrong') ? 'RecordsWrong' : 'RecordsMissing';
    return judged('False', reason, `${bad.map(complaint).join('; ')}. status.dnsRecords tells what to publish.`);
  }
  const [unknown] = own.filter(({ seen }) => seen.state === undefined);
  if (unknown) {
    const { record, seen } = unknown;
    const why = seen.problem === undefined ? 'was not looked at yet' : `could not be looked at: ${seen.problem}`;
    return judged('Unknown', 'DnsNotAnswering', `${record.type} ${record.name} ${why}.`);
  }
  const advice = records.filter(({ record, seen }) => !own.some((each) => each.record === record) && isBad(seen));
  const others = advice
    .filter(({ record }) => record.purpose !== 'Dkim')
    .map(({ record, seen }) => `${record.type} ${record.name} is ${seen.state?.toLowerCase()}`);
  const also = others.length > 0 ? ` Beside them, for the host names of relays: ${others.join(', ')}.` : '';
  return judged('True', 'RecordsPublished', `All name servers have the records of the domain.${also}`);
}

const isBad = ({ state }: Seen): boolean => state === 'Wrong' || state === 'Missing';

/** Records of keys whose predecessor still signs: nothing is amiss while they wait. */
function waitingNames(domain: string, keys: readonly Living[]): ReadonlySet<string> {
  if (keys.every(({ state }) => state !== 'Active')) return new Set();
  return new Set(keys.flatMap(({ state, selector }) => (state === 'Publishing' ? [dkimName(selector, domain)] : [])));
}

const complaint = ({ record: { type, name }, seen: { state, observed } }: SeenRecord): string =>
  state === 'Missing'
    ? `${type} ${name} is missing${observed === undefined ? '' : ` (${observed})`}`
    : `${type} ${name} is wrong: ${observed ?? 'it is another'}`;

/** An event for each record that DNS has otherwise than before. That a new one is not there yet is expected. */
export function recordEvents(
  { status }: MailDomain,
  records: readonly SeenRecord[],
): Pick<OperatorEvent, 'type' | 'reason' | 'message'>[] {
  const before = new Map(status?.dnsRecords?.map((record) => [recordIdOf(record), record.state]));
  return records.flatMap(({ record, seen }): Pick<OperatorEvent, 'type' | 'reason' | 'message'>[] => {
    const was = before.get(recordId(record));
    if (seen.state === undefined || seen.state === was) return [];
    if (was === undefined && seen.state !== 'Wrong') return [];
    if (seen.state === 'Published') {
      const message = `${record.type} ${record.name} is published.`;
      return [{ type: 'Normal', reason: 'DnsRecordPublished', message }];
    }
    const reason = `DnsRecord${seen.state}`;
    return [{ type: 'Warning', reason, message: `${complaint({ record, seen })}.` }];
  });
}
