/** Questions to name servers: what can be asked, and what can come of it. No answer is told apart from "there is none". */

export type QuestionType = 'TXT' | 'A' | 'AAAA' | 'MX' | 'PTR' | 'NS' | 'CNAME';

export type Answer =
  /** TXT: the strings of each record joined (RFC 7208 3.3); MX: the hosts, the most preferred first. */
  | { readonly kind: 'Found'; readonly values: readonly string[] }
  /** The name is not there, or no record of the type is. */
  | { readonly kind: 'None' }
  /** Time-out, SERVFAIL, REFUSED, malformed: nothing is known. */
  | { readonly kind: 'Failed'; readonly why: string };

/** One whom to ask: a resolver, or a name server of a zone. Never rejects, and answers within a bounded time. */
export interface NameServer {
  /** How a person knows it. */
  readonly name: string;
  ask(type: QuestionType, name: string): Promise<Answer>;
}

/** Whom to ask for the records of a name: all of them must agree. */
export type ServersOf = (name: string) => Promise<readonly NameServer[] | Extract<Answer, { kind: 'Failed' }>>;

/** Aliases that are followed: more than any sane zone has. */
const LONGEST_CHAIN = 8;

/** What each server of the name has, by its name. A name server of a zone tells only the alias where one leads elsewhere. */
export async function askAll(
  servers: ServersOf,
  type: QuestionType,
  name: string,
): Promise<readonly { readonly server: string; readonly answer: Answer }[]> {
  const found = await servers(name);
  if ('kind' in found) return [{ server: '', answer: found }];
  return Promise.all(
    found.map(async (server) => ({ server: server.name, answer: await askOne(server, servers, type, name, 0) })),
  );
}

/** What the first server has that answers. */
export async function askAny(servers: ServersOf, type: QuestionType, name: string, hops = 0): Promise<Answer> {
  const found = await servers(name);
  if ('kind' in found) return found;
  let last: Answer = { kind: 'Failed', why: `no name server for ${name}` };
  for (const server of found) {
    last = await askOne(server, servers, type, name, hops);
    if (last.kind !== 'Failed') return last;
  }
  return last;
}

async function askOne(
  server: NameServer,
  servers: ServersOf,
  type: QuestionType,
  name: string,
  hops: number,
): Promise<Answer> {
  const answer = await server.ask(type, name);
  if (answer.kind !== 'None') return answer;
  const alias = await server.ask('CNAME', name);
  if (alias.kind !== 'Found') return alias;
  const [target = ''] = alias.values;
  if (hops >= LONGEST_CHAIN) return { kind: 'Failed', why: `the aliases of ${name} do not end` };
  return askAny(servers, type, target, hops + 1);
}
