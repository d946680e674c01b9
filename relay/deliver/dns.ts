/**
 * Name lookups with a bounded time and a bounded cache. MX hosts are asked of the resolvers in settings, or the system's;
 * smarthosts of the system (hosts file, search domains), since they are often names inside a cluster.
 */
import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { LRUCache } from 'lru-cache';

export interface MxRecord {
  /** '' is the root: a null MX (RFC 7505). */
  readonly exchange: string;
  readonly priority: number;
}

/** Every lookup rejects with a {@link DnsFailure}. */
export interface Dns {
  /** Never empty. */
  mx(domain: string): Promise<readonly MxRecord[]>;
  /** From A and AAAA records; never empty. */
  addresses(host: string): Promise<readonly string[]>;
  /** As programs of this machine see the host; never empty. */
  systemAddresses(host: string): Promise<readonly string[]>;
  /** Ends lookups under way. */
  close(): void;
}

export class DnsFailure extends Error {
  override readonly name = 'DnsFailure';
  /** no-domain: NXDOMAIN; no-data: the name is there, records of this type are not; temporary: no answer now. */
  readonly kind: 'no-domain' | 'no-data' | 'temporary';

  constructor(kind: DnsFailure['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

const KINDS = new Map<unknown, DnsFailure['kind']>([
  ['ENOTFOUND', 'no-domain'],
  ['ENODATA', 'no-data'],
  // A name that cannot be asked (label over 63 bytes, empty label) is no domain of anyone.
  ['EBADNAME', 'no-domain'],
]);

const CACHE_ENTRIES = 10_000;
/** node:dns does not tell the TTL of an MX; a minute keeps load off resolvers and follows changes soon. */
const CACHE_MS = 60_000;
/** Records kept of an answer: more than delivery looks at; one that is made to be huge would fill the cache. */
const KEPT_RECORDS = 20;
/** A lookup by the system may take minutes where its name servers are silent, and cannot be ended. */
const SYSTEM_LOOKUP_MS = 15_000;

/** Told of each lookup that was asked of a server. */
export type Asked = (
  type: 'mx' | 'addresses' | 'system',
  result: 'found' | DnsFailure['kind'],
  seconds: number,
) => void;

/**
 * @param servers HOST:PORT of DNS servers, read at each lookup; empty means the system's
 * @param queryTimeoutMs of the first try; the second waits longer
 */
export function createDns(
  servers: () => readonly string[],
  queryTimeoutMs: number,
  told: Asked = () => undefined,
): Dns {
  let shared: Resolver | undefined;
  let asked = '';
  let closed = false;
  const alone = new Set<Resolver>();

  const create = (): Resolver => {
    const resolver = new Resolver({ timeout: queryTimeoutMs, tries: 2 });
    const wanted = servers();
    if (wanted.length > 0) resolver.setServers([...wanted]);
    return resolver;
  };
  const current = (): Resolver => {
    if (!shared || servers().join() !== asked) {
      shared = create();
      asked = servers().join();
    }
    return shared;
  };
  /**
   * c-ares ends all queries that share its socket when one of their answers is malformed: one that anybody can put into
   * the DNS of a domain of theirs would fail the lookups of everybody else's. So each of them is asked again by itself.
   */
  const ask = async <T>(question: (resolver: Resolver) => Promise<T>): Promise<T> => {
    try {
      return await question(current());
    } catch (error) {
      if (codeOf(error) !== 'EBADRESP' || closed) throw error;
      const resolver = create();
      alone.add(resolver);
      return await question(resolver).finally(() => alone.delete(resolver));
    }
  };

  const timed = timing(told);
  const mx = remembering(
    timed('mx', async (domain) => {
      const records = await answered(domain, () => ask((resolver) => resolver.resolveMx(domain)));
      return records.toSorted((a, b) => a.priority - b.priority).slice(0, KEPT_RECORDS);
    }),
  );
  const addresses = remembering(
    timed('addresses', async (host) => {
      // IPv4 first: many clusters have no IPv6 way out, and receivers ask more of IPv6 senders (PTR, reputation).
      const answers = await Promise.allSettled([
        answered(host, () => ask((resolver) => resolver.resolve4(host))),
        answered(host, () => ask((resolver) => resolver.resolve6(host))),
      ]);
      const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      if (found.length > 0) return found.slice(0, KEPT_RECORDS);
      const failures = answers.flatMap((answer) =>
        answer.status === 'rejected' ? [asFailure(host, answer.reason)] : [],
      );
      throw failures.find(({ kind }) => kind === 'temporary') ?? failures[0] ?? new DnsFailure('no-data', host);
    }),
  );
  const askedOfSystem = remembering(
    timed('system', (host) =>
      answered(host, async () => (await lookup(host, { all: true })).map(({ address }) => address)),
    ),
  );
  // Remembered is the lookup, not the wait for it: those who wait for a silent server share one thread of libuv's few.
  const systemAddresses = (host: string): Promise<readonly string[]> =>
    withinTime(host, SYSTEM_LOOKUP_MS, askedOfSystem('', host));

  return {
    // The cache is keyed by the servers too: an answer of other servers is none.
    mx: (domain) => mx(servers().join(), domain),
    addresses: (host) => (isIP(host) ? Promise.resolve([host]) : addresses(servers().join(), host)),
    systemAddresses: (host) => (isIP(host) ? Promise.resolve([host]) : systemAddresses(host)),
    close: () => {
      closed = true;
      shared?.cancel();
      for (const resolver of alone) resolver.cancel();
    },
  };
}

/** Tells of each lookup how it ended, and when. */
const timing =
  (told: Asked) =>
  <T>(type: Parameters<Asked>[0], ask: (name: string) => Promise<T>) =>
  async (name: string): Promise<T> => {
    const beganMs = performance.now();
    const tell = (result: Parameters<Asked>[1]): void => told(type, result, (performance.now() - beganMs) / 1_000);
    try {
      const found = await ask(name);
      tell('found');
      return found;
    } catch (error) {
      tell(asFailure(name, error).kind);
      throw error;
    }
  };

/** Lookups of one name share an answer for a while; "not now" is no answer to keep. */
function remembering<T extends object>(ask: (name: string) => Promise<T>): (from: string, name: string) => Promise<T> {
  const answers = new LRUCache<string, Promise<T>>({ max: CACHE_ENTRIES, ttl: CACHE_MS });
  return (from, name) => {
    const key = `${from} ${name}`;
    const known = answers.get(key);
    if (known) return known;
    const answer = ask(name);
    answers.set(key, answer);
    answer.catch((error: unknown) => {
      if (asFailure(name, error).kind === 'temporary' && answers.peek(key) === answer) answers.delete(key);
    });
    return answer;
  };
}

async function withinTime<T>(name: string, ms: number, answer: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new DnsFailure('temporary', `${name}: no answer in time`)), ms);
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

async function answered<T>(name: string, ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
  let found: readonly T[];
  try {
    found = await ask();
  } catch (error) {
    throw asFailure(name, error);
  }
  if (found.length === 0) throw new DnsFailure('no-data', name);
  return found;
}

function asFailure(name: string, error: unknown): DnsFailure {
  if (error instanceof DnsFailure) return error;
  const code = codeOf(error);
  return new DnsFailure(KINDS.get(code) ?? 'temporary', `${name}: ${code}`);
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
