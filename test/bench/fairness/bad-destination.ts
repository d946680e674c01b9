/** What a destination that does not take its mail does to the mail of a thousand others. */
import { setTimeout as pause } from 'node:timers/promises';
import { at, hang, type Moment } from '../../harness/destination.ts';
import { OTHER_SENDER } from '../../harness/relay-process.ts';
import { type Backlog, withRelay } from './house.ts';
import { BAD_DOMAIN, type Behaviour, GOOD_DOMAINS, Neighbourhood } from './neighbourhood.ts';
import { type Spread, spreadOf } from './spread.ts';
import { send } from './stream.ts';

/** Messages a second of each sender to the good ones. */
const RATE = 100;
const BAD_RATE = 20;
const SECONDS = 10;
const WARM_UP = { perSecond: 200, seconds: GOOD_DOMAINS.length / 2 / 200 };
/** What has not arrived so long after the last one counts as never. */
const LATE_MS = 5_000;

const hangs = (moment: Moment): Behaviour => at(moment, hang);

export const BAD_DESTINATIONS: ReadonlyMap<string, Behaviour> = new Map([
  ['refuses connections', 'refuses'],
  ['hangs before its greeting', hangs('greeting')],
  ['hangs at EHLO', hangs('ehlo')],
  ['hangs at STARTTLS', hangs('starttls')],
  ['hangs at MAIL', hangs('mail')],
  ['hangs at RCPT', hangs('rcpt')],
  ['hangs at DATA', hangs('data')],
  ['hangs at the final dot', hangs('dot')],
]);

/** @param backlog to the bad destination, and mail to it comes in all the time; without one there is neither */
export async function measure(bad: Behaviour, backlog: Backlog | undefined): Promise<Spread> {
  await using neighbourhood = await Neighbourhood.start(bad);
  return await withRelay(neighbourhood, backlog, async ({ port }) => {
    // Each sender writes to every other domain, and together they write to all.
    const stream = (from: string, prefix: string, rate: { perSecond: number; seconds: number }, parity: number) => {
      const domainOf = (number: number) => GOOD_DOMAINS[(2 * number + parity) % GOOD_DOMAINS.length] ?? '';
      return send({ port, from, ...rate, to: (number) => `${prefix}${number}@${domainOf(number)}` });
    };
    const both = (prefix: string, rate: { perSecond: number; seconds: number }) =>
      Promise.all([stream('127.0.0.1', prefix, rate, 0), stream(OTHER_SENDER, prefix, rate, 1)]);
    await both('warm', WARM_UP);
    const toBad = { port, from: '127.0.0.1', perSecond: backlog ? BAD_RATE : 0, seconds: SECONDS };
    const [sent] = await Promise.all([
      both('m', { perSecond: RATE, seconds: SECONDS }),
      send({ ...toBad, to: (number) => `m${number}@${BAD_DOMAIN}` }),
    ]);
    const taken = new Map(sent.flatMap((map) => [...map]));
    const deadline = performance.now() + LATE_MS;
    const isMissing = (): boolean => [...taken.keys()].some((to) => neighbourhood.arrivalOf(to) === undefined);
    while (isMissing() && performance.now() < deadline) await pause(50);
    return spreadOf([...taken].map(([to, at]) => (neighbourhood.arrivalOf(to) ?? Number.POSITIVE_INFINITY) - at));
  });
}
