/**
 * How far V8 lets the heaps of a replica grow before it collects all of them. With a short queue it is what bin/chasqui
 * says: large messages come and go, and to collect more often costs a tenth of their CPU time. With a long one, where
 * much of the heap stays and as much again is thrown away for each look into the queue, memory counts for more.
 */
import { setFlagsFromString } from 'node:v8';
import type { Spool } from './spool/spool.ts';

/** Messages. */
const LONG = 50_000;
const LOOK_MS = 5_000;
/** Percent of what a collection leaves. */
const SHORT_GROWTH = 200;
const LONG_GROWTH = 25;

/** V8 reads the flag at the end of each collection, for the threads of this process alike. Ends with the process. */
export function boundHeapByQueue(spool: Pick<Spool, 'stats'>): void {
  let growth = SHORT_GROWTH;
  const look = async (): Promise<void> => {
    try {
      const { messages } = await spool.stats();
      const wanted = messages > LONG ? LONG_GROWTH : SHORT_GROWTH;
      if (wanted !== growth) setFlagsFromString(`--heap-growing-percent=${wanted}`);
      growth = wanted;
    } catch {
      // The spool is closed, or tells of its failure elsewhere.
    }
  };
  void look();
  setInterval(() => void look(), LOOK_MS).unref();
}
