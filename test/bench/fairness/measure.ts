/**
 * What others suffer from a bad destination, and from a sender with a long queue: the latency of their messages, from the
 * 250 of the relay to the end of the message at its destination.
 *
 *     node test/bench/fairness/measure.ts [PART...]
 *
 * A part is a word of what is measured: `refuses`, `STARTTLS`, `queues`; without one all is.
 */
import { BAD_DESTINATIONS, measure } from './bad-destination.ts';
import { Backlog } from './house.ts';
import { measureQueues } from './long-queue.ts';
import { BAD_DOMAIN } from './neighbourhood.ts';
import { HEAD, row } from './spread.ts';

const BACKLOG = 20_000;

const parts = process.argv.slice(2);
const wanted = (name: string): boolean =>
  parts.length === 0 || parts.some((part) => name.split(' ').some((word) => word === part));

if ([...BAD_DESTINATIONS.keys(), 'none'].some(wanted)) {
  await using backlog = await Backlog.fill(BACKLOG, [BAD_DOMAIN]);
  process.stdout.write(`| a destination ${HEAD}`);
  if (wanted('none')) process.stdout.write(row('none is bad', await measure('refuses', undefined)));
  for (const [name, bad] of BAD_DESTINATIONS) {
    if (wanted(name)) process.stdout.write(row(name, await measure(bad, backlog)));
  }
}
if (wanted('queues')) {
  process.stdout.write(`| a single message ${HEAD}`);
  for await (const [name, spread] of measureQueues()) process.stdout.write(row(name, spread));
}
