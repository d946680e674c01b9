/**
 * Domains that a relay sends as no more, and of which mail may be queued there still: their keys stay in its config, so
 * that what it took leaves signed. The config itself remembers them, so a restart of the operator forgets none.
 *
 * A queue is told to be empty or not, not whose mail is in it. So an entry goes once each replica had the departure in
 * its config and its queue was seen empty then, or when everything from before must have been delivered or returned.
 */
import Schema from 'typebox/schema';
import { DomainDocument as Domain, type DomainDocument, DomainsShard, INDEX } from '../../relay/config/documents.ts';
import { timestamp } from '../runtime/conditions.ts';

const Shard = Schema.Compile(DomainsShard);
const Entry = Schema.Compile(Domain);

export interface DepartureFacts {
  /** What was applied last, by file. */
  readonly before: ReadonlyMap<string, string>;
  /** What would be applied now. */
  readonly next: ReadonlyMap<string, string>;
  readonly inForce: readonly DomainDocument[];
  /** Every queue was seen empty by a replica that goes by what was applied last. */
  readonly isEmpty: boolean;
  /** How long mail may be queued. */
  readonly longestMs: number;
}

/** Entries that are to stay, beside those in force. */
export function departedDomains(facts: DepartureFacts, nowMs: number): DomainDocument[] {
  const { before, next, inForce } = facts;
  const names = new Set(inForce.map(({ domain }) => domain));
  // Shards are canonical: where the text is the same, nobody left.
  const changed = [...before].filter(([file, text]) => file !== INDEX && next.get(file) !== text);
  return changed
    .flatMap(([, text]) => entriesOf(text))
    .filter(({ domain, dkim }) => !names.has(domain) && dkim.keys.length > 0)
    .map((entry) => ({ ...entry, departed: entry.departed ?? timestamp(nowMs) }))
    .filter((entry) => !isOver(entry, facts, nowMs));
}

function isOver({ domain, departed }: DomainDocument, { before, isEmpty, longestMs }: DepartureFacts, nowMs: number) {
  if (nowMs >= Date.parse(departed ?? '') + longestMs) return true;
  // Until a replica goes by the departure it may take more mail of the domain.
  return isEmpty && departedIn(before).some((entry) => entry.domain === domain);
}

/** Those that a config holds only for what is queued. */
export const departedIn = (documents: ReadonlyMap<string, string>): DomainDocument[] =>
  [...documents.values()]
    .filter((text) => text.includes('"departed"'))
    .flatMap(entriesOf)
    .filter(({ departed }) => departed !== undefined);

function entriesOf(text: string): DomainDocument[] {
  const shard: unknown = JSON.parse(text);
  return Shard.Check(shard) ? shard.domains.filter((entry) => Entry.Check(entry)) : [];
}
