/** Looks at DNS once, for all records of a domain, and says of each what is there. */
import { type Answer, askAll, askAny, type ServersOf } from './lookup.ts';
import { type Finding, judgeAnswer } from './meaning.ts';
import type { WantedRecord } from './records.ts';
import { evaluateSpf, type SpfVerdict } from './spf.ts';
import { isSpfRecord, parseSpf, SpfSyntax } from './spf-record.ts';

/** What was found, or why nothing is known. */
export type Look = Finding | { readonly state: 'Unknown'; readonly observed: string };

export type Verify = (wanted: WantedRecord) => Promise<Look>;

/** Longest text that is told of a record: what DNS has may be long, or foul. */
const MOST_CHARACTERS = 300;

/** @param servers whom to ask: every one of them must have a record for it to be Published */
export const verifying =
  (servers: ServersOf): Verify =>
  async (wanted) => {
    const answers = await askAll(servers, wanted.type, wanted.name);
    const looks = await Promise.all(
      answers.map(
        async ({ server, answer }): Promise<Told> => ({
          server,
          look: answer.kind === 'Failed' ? unknown(answer.why) : await lookAt(wanted, valuesOf(answer), servers),
        }),
      ),
    );
    return shortened(together(looks));
  };

interface Told {
  readonly server: string;
  readonly look: Look;
}

const unknown = (observed: string): Look => ({ state: 'Unknown', observed });
const valuesOf = (answer: Exclude<Answer, { kind: 'Failed' }>): readonly string[] =>
  answer.kind === 'Found' ? answer.values : [];

function lookAt(wanted: WantedRecord, values: readonly string[], servers: ServersOf): Look | Promise<Look> {
  return 'addresses' in wanted ? lookAtSpf(wanted, values, servers) : judgeAnswer(wanted, values);
}

type SpfRecordWanted = Extract<WantedRecord, { readonly addresses: readonly string[] }>;

/** By evaluation: whatever the record says, each of our addresses must pass. */
async function lookAtSpf(wanted: SpfRecordWanted, values: readonly string[], servers: ServersOf): Promise<Look> {
  const [record] = values.filter(isSpfRecord);
  if (record === undefined) return { state: 'Missing' };
  const { name, addresses } = wanted;
  const ask = (type: Parameters<typeof askAny>[1], asked: string): Promise<Answer> =>
    // The record itself as this server has it.
    type === 'TXT' && asked.toLowerCase() === name
      ? Promise.resolve({ kind: 'Found', values })
      : askAny(servers, type, asked);
  for (const address of addresses) {
    const verdict = await evaluateSpf({ address, domain: name, helo: name }, ask);
    if (verdict.result === 'temperror') return unknown(verdict.why);
    if (verdict.result !== 'pass') return { state: 'Wrong', observed: complaint(address, verdict, record) };
  }
  return judgeTerms(wanted, record);
}

const complaint = (address: string, { result, why }: SpfVerdict, record: string): string =>
  result === 'permerror' ? `${why}: ${record}` : `${address} does not pass (${result}: ${why}): ${record}`;

/** What evaluation does not show: others that were asked for, and whether everybody passes. */
function judgeTerms({ value }: SpfRecordWanted, record: string): Look {
  try {
    const { mechanisms } = parseSpf(record);
    if (mechanisms.some(({ kind, qualifier }) => kind === 'all' && qualifier === '+')) {
      return { state: 'Wrong', observed: `+all lets everybody send: ${record}` };
    }
    const included = mechanisms.map((each) => (each.kind === 'include' ? each.domain.toLowerCase() : ''));
    const left = parseSpf(value).mechanisms.find(
      (each) => each.kind === 'include' && !included.includes(each.domain.toLowerCase()),
    );
    return left ? { state: 'Wrong', observed: `it leaves out ${left.text}: ${record}` } : { state: 'Published' };
  } catch (error) {
    if (error instanceof SpfSyntax) return { state: 'Wrong', observed: `${error.message}: ${record}` };
    throw error;
  }
}

/** The worst that a server has counts; one that does not answer leaves open what is otherwise right. */
const WORST_FIRST: readonly Look['state'][] = ['Wrong', 'Missing', 'Unknown', 'Published'];

function together(looks: readonly Told[]): Look {
  for (const state of WORST_FIRST) {
    const found = looks.filter(({ look }) => look.state === state);
    const [first] = found;
    if (!first) continue;
    const { look, server } = first;
    // Where all agree it is the zone, not a server.
    if (found.length === looks.length || server === '') return look;
    return { ...look, observed: `${server}: ${look.observed ?? 'it is not there'}` };
  }
  return unknown('there is no name server to ask');
}

/** Control characters and what is no ASCII would disturb whoever reads it. */
function shortened(look: Look): Look {
  if (look.observed === undefined) return look;
  const plain = look.observed.replace(/[^ -~]/g, '?');
  return { ...look, observed: plain.length > MOST_CHARACTERS ? `${plain.slice(0, MOST_CHARACTERS)}...` : plain };
}
