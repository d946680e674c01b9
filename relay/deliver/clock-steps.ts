/**
 * The time of day may be set while mail waits for it, or while no process runs. Forward does no harm: what waits is
 * tried early, once. Back, all would wait for as long as the clock was set back. A step is seen by comparing with a clock
 * that nobody sets; one that happened while no process ran, by a wait that is longer than any that we give.
 */
import type { Observer } from '../observe/events.ts';
import type { Spool } from '../spool/spool.ts';

export interface ClockStepsContext {
  readonly spool: Pick<Spool, 'hasten'>;
  readonly observer: Pick<Observer, 'log'>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds since some moment; nobody sets it. */
  readonly steady: () => number;
  /** Longest wait between attempts. */
  readonly longestWaitMs: () => number;
}

/** Less is drift, or a clock that is kept right little by little. */
const STEP_MS = 1_000;
/** Waits are spread by a tenth (retry.ts). */
const SPREAD = 1.1;

export class ClockSteps {
  readonly #context: ClockStepsContext;
  /** The time of day when the steady clock began; undefined before the first look. */
  #offsetMs: number | undefined;

  constructor(context: ClockStepsContext) {
    this.#context = context;
  }

  /** To be called before the queue is asked for what is due. Rejects where the spool cannot do it; then again. */
  async follow(): Promise<void> {
    const { spool, observer, now, steady, longestWaitMs } = this.#context;
    const nowMs = Math.round(now());
    const offsetMs = nowMs - steady();
    const before = this.#offsetMs;
    if (before === undefined) {
      const afterMs = nowMs + Math.ceil(longestWaitMs() * SPREAD);
      await spool.hasten({ nowMs, afterMs, byMs: afterMs });
    } else if (offsetMs < before - STEP_MS) {
      const byMs = Math.round(before - offsetMs);
      await spool.hasten({ nowMs, afterMs: nowMs, byMs });
      observer.log('warn', 'The clock was set back; what waits for its next attempt waits no longer for it', { byMs });
    } else if (offsetMs > before + STEP_MS) {
      observer.log('warn', 'The clock was set forward; what waits for its next attempt is tried early', {
        byMs: Math.round(offsetMs - before),
      });
    }
    this.#offsetMs = offsetMs;
  }
}
