/** How long the message of a sender takes beside a hundred thousand of another. */
import { setTimeout as pause } from 'node:timers/promises';
import { at, hang, type Script, type Step } from '../../harness/destination.ts';
import { OTHER_SENDER } from '../../harness/relay-process.ts';
import { Session } from '../queue/submit.ts';
import { Backlog, withRelay } from './house.ts';
import { BAD_DOMAIN, GOOD_DOMAINS, MANY_BAD_DOMAINS, Neighbourhood, QUIET_DOMAIN } from './neighbourhood.ts';
import { type Spread, spreadOf } from './spread.ts';

const MESSAGES = 100_000;
/** What the slow destination takes for each message. */
const SLOW_MS = 100;
const SETTLE_MS = 2_000;
const MEASURED_MS = 10_000;
const PAUSE_MS = 50;
const LONGEST_MS = 10_000;

async function slow({ at: moment }: Step): Promise<undefined> {
  if (moment === 'dot') await pause(SLOW_MS);
  return undefined;
}

/** Sends one message after the other, to each of the domains in turn, when the one before has arrived. */
async function measureSingles(
  backlog: Backlog | undefined,
  domains: readonly string[],
  bad: Script,
): Promise<readonly Spread[]> {
  await using neighbourhood = await Neighbourhood.start(bad);
  return await withRelay(neighbourhood, backlog, async ({ port }) => {
    const session = await Session.open(port, OTHER_SENDER);
    await pause(SETTLE_MS);
    const latencies = domains.map((): number[] => []);
    const end = performance.now() + MEASURED_MS;
    for (let number = 0; performance.now() < end; number += 1) {
      for (const [index, domain] of domains.entries()) {
        const recipient = `single${number}@${domain}`;
        await session.send(recipient);
        const taken = performance.now();
        const arrived = await neighbourhood.arrival(recipient, LONGEST_MS);
        latencies[index]?.push((arrived ?? Number.POSITIVE_INFINITY) - taken);
        await pause(PAUSE_MS);
      }
    }
    await session.quit();
    return latencies.map(spreadOf);
  });
}

interface Queue {
  readonly name: string;
  /** Where its messages go, in turn; none: it is empty. */
  readonly to: readonly string[];
  readonly bad: Script;
  /** Where single messages go, by name. */
  readonly singles: readonly (readonly [name: string, domain: string])[];
}

const SLOW_ONE = ['the slow one', BAD_DOMAIN] as const;
const ONE_OF_THEM = ['one of the 1,000', GOOD_DOMAINS[500] ?? ''] as const;
const ANOTHER = ['another', QUIET_DOMAIN] as const;

const QUEUES: readonly Queue[] = [
  { name: 'empty queue', to: [], bad: slow, singles: [SLOW_ONE, ONE_OF_THEM, ANOTHER] },
  { name: '100,000 to the slow one', to: [BAD_DOMAIN], bad: slow, singles: [SLOW_ONE, ANOTHER] },
  { name: '100,000 to 1,000', to: GOOD_DOMAINS, bad: slow, singles: [ONE_OF_THEM, ANOTHER] },
  { name: '100,000 to 1,000 that hang', to: MANY_BAD_DOMAINS, bad: at('greeting', hang), singles: [ANOTHER] },
];

export async function* measureQueues(): AsyncGenerator<readonly [name: string, spread: Spread]> {
  for (const { name, to, bad, singles } of QUEUES) {
    await using backlog = to.length > 0 ? await Backlog.fill(MESSAGES, to) : undefined;
    const domains = singles.map(([, domain]) => domain);
    for (const [index, spread] of (await measureSingles(backlog, domains, bad)).entries()) {
      yield [`to ${singles[index]?.[0]}, ${name}`, spread];
    }
  }
}
