/**
 * Name servers as node:dns asks them: resolvers that are given, or those of the zone itself. Cluster DNS often has a
 * zone of its own under a public name, and a resolver may keep an old answer: the zone's own servers tell what everybody
 * will see.
 */
import { Resolver } from 'node:dns/promises';
import { LRUCache } from 'lru-cache';
import type { Answer, NameServer, QuestionType, ServersOf } from './lookup.ts';

/** Of the first try (ms); the second waits longer. */
const QUERY_MS = 2_000;
/** How long it is remembered whose servers a zone has (ms), and of how many names. */
const ZONE_MS = 60_000;
const ZONES = 10_000;
/** A zone that is made to have many servers must not make many questions. */
const MOST_SERVERS = 13;
const MOST_VALUES = 64;

type Ask = NameServer['ask'];
type Failed = Extract<Answer, { kind: 'Failed' }>;

/** @param addresses IP or IP:PORT of a server each, tried in their order; none: what the system is set up to ask */
const asking =
  (addresses: readonly string[]): Ask =>
  async (type, name) => {
    // One each: c-ares ends all questions that share a socket when one answer is malformed.
    const resolver = new Resolver({ timeout: QUERY_MS, tries: 2 });
    if (addresses.length > 0) resolver.setServers([...addresses]);
    try {
      const values = await QUESTIONS[type](resolver, name);
      return values.length === 0 ? { kind: 'None' } : { kind: 'Found', values: values.slice(0, MOST_VALUES) };
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      return NONE.has(code) ? { kind: 'None' } : { kind: 'Failed', why: REASONS[code] ?? code };
    }
  };

const QUESTIONS: Readonly<Record<QuestionType, (resolver: Resolver, name: string) => Promise<readonly string[]>>> = {
  TXT: async (resolver, name) => (await resolver.resolveTxt(name)).map((strings) => strings.join('')),
  A: (resolver, name) => resolver.resolve4(name),
  AAAA: (resolver, name) => resolver.resolve6(name),
  MX: async (resolver, name) =>
    (await resolver.resolveMx(name)).toSorted((a, b) => a.priority - b.priority).map(({ exchange }) => exchange),
  PTR: (resolver, name) => resolver.resolvePtr(name),
  NS: (resolver, name) => resolver.resolveNs(name),
  CNAME: (resolver, name) => resolver.resolveCname(name),
};

const NONE: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);
const REASONS: Readonly<Record<string, string>> = {
  ETIMEOUT: 'no answer in time',
  ESERVFAIL: 'SERVFAIL',
  EREFUSED: 'REFUSED',
  ECONNREFUSED: 'nothing listens there',
  EBADRESP: 'a malformed answer',
};

/** Resolvers that are given: each must know what is asked. */
export function givenServers(addresses: readonly string[]): ServersOf {
  const servers = addresses.map((address) => ({ name: address, ask: asking([address]) }));
  return async () => servers;
}

/** The name servers of the zone that a name is in, found by asking the system's resolver. */
export function zoneServers(
  system: Ask = asking([]),
  server: (addresses: readonly string[]) => Ask = asking,
): ServersOf {
  const remembered = new LRUCache<string, Promise<readonly NameServer[] | Failed>>({ max: ZONES, ttl: ZONE_MS });
  const remember = (name: string): Promise<readonly NameServer[] | Failed> => {
    const known = remembered.get(name);
    if (known) return known;
    const found = find(name);
    remembered.set(name, found);
    // That nobody answered is no answer to keep.
    void found.then((servers) => 'kind' in servers && remembered.delete(name));
    return found;
  };
  const find = async (name: string): Promise<readonly NameServer[] | Failed> => {
    const answer = await system('NS', name);
    if (answer.kind === 'Failed') return { kind: 'Failed', why: `no name server of ${name} was found: ${answer.why}` };
    if (answer.kind === 'Found') return Promise.all(answer.values.slice(0, MOST_SERVERS).map(named));
    const dot = name.indexOf('.');
    // The delegation stands higher up. Servers of the last zone there is tell that the name does not exist.
    return dot < 0 ? { kind: 'Failed', why: `no name server of ${name} was found` } : remember(name.slice(dot + 1));
  };
  const named = async (host: string): Promise<NameServer> => {
    // IPv4 first: many clusters have no IPv6 way out.
    const answers = await Promise.all([system('A', host), system('AAAA', host)]);
    const addresses = answers.flatMap((answer) => (answer.kind === 'Found' ? answer.values : []));
    if (addresses.length > 0) return { name: host, ask: server(addresses) };
    return { name: host, ask: async () => ({ kind: 'Failed', why: 'it has no address' }) };
  };
  return (name) => remember(name.replace(/\.$/, '').toLowerCase());
}
