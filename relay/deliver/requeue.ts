/** After the start: finds what was in memory when the last process ended, in the parts of a long queue that are old. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Observer } from '../observe/events.ts';
import type { Spool } from '../spool/spool.ts';

/** Between looks of some 2 ms, so that other work has the spool to itself. */
const PAUSE_MS = 10;
const LOOK_AGAIN_MS = 2_000;

export interface RequeueContext {
  readonly spool: Pick<Spool, 'requeue'>;
  readonly observer: Pick<Observer, 'log'>;
  readonly signal: AbortSignal;
  /** Called when there is something more that is due. */
  readonly found: () => void;
}

/** Resolves when all was looked through, or the signal came; never rejects. */
export async function requeue({ spool, observer, signal, found }: RequeueContext): Promise<void> {
  let pauseMs = 0;
  do {
    try {
      if (pauseMs > 0) await sleep(pauseMs, undefined, { ref: false, signal });
      const { deliveries, more } = await spool.requeue();
      if (deliveries > 0) found();
      if (!more) return;
      pauseMs = PAUSE_MS;
    } catch (error) {
      if (signal.aborted) return;
      observer.log('warn', 'Queue could not be looked through for unfinished deliveries; trying again', {
        error: String(error),
      });
      pauseMs = LOOK_AGAIN_MS;
    }
  } while (!signal.aborted);
}
