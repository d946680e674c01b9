/** Which replicas of a relay are to be started and ended: a decision about what is wanted and what runs. */

/** Waits before a replica that ended by itself is started again: at once, then 1 s doubling up to 30 s. */
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_LAST_MS = 30_000;
/** A replica that has run this long has shown that it can (ms). */
export const STABLE_MS = 60_000;

/** @param failures ends in a row, each after less than `STABLE_MS` but for the first */
export const restartDelayMs = (failures: number): number =>
  failures <= 1 ? 0 : Math.min(BACKOFF_FIRST_MS * 2 ** (failures - 2), BACKOFF_LAST_MS);

export interface Wanted {
  readonly replicas: number;
  /** All ports that the config names are bound. */
  readonly portsBound: boolean;
  readonly drainTimeoutMs: number;
}

/** One ordinal: a process, or a spool that a process left. */
export interface Slot {
  readonly ordinal: number;
  readonly process?: {
    readonly drained: boolean;
    readonly stopping: boolean;
  };
  /** Not to be started before (ms since 1970). */
  readonly startAfterMs: number;
  /** Its last process ended as it was told, with nothing in the spool. */
  readonly emptied: boolean;
  /** Since when it is no longer wanted (ms since 1970), and whether it was ended for that. */
  readonly drain?: { readonly sinceMs: number; readonly stopped: boolean };
}

export interface Step {
  readonly step:
    | 'start'
    | 'terminate'
    /** From now on it is no longer wanted. */
    | 'drain'
    /** It is wanted again. */
    | 'resume'
    /** It was drained, or its time is over; only its spool is left. */
    | 'settle';
  readonly ordinal: number;
}

export interface Decision {
  readonly steps: readonly Step[];
  /** When to decide again without any news (ms from now). */
  readonly againMs?: number;
}

/** @param slots every ordinal that is wanted, runs, or left a spool */
export function decide(wanted: Wanted, slots: readonly Slot[], nowMs: number): Decision {
  const leaving = slots.filter(({ process, drain }) => process || drain?.stopped !== true);
  const highest = Math.max(...leaving.map(({ ordinal }) => ordinal));
  const decisions = slots.map((slot) =>
    slot.ordinal < wanted.replicas ? keep(wanted, slot, nowMs) : drain(wanted, slot, nowMs, slot.ordinal === highest),
  );
  const steps = decisions.flatMap((decision) => decision.steps);
  const times = decisions.flatMap(({ againMs }) => (againMs === undefined ? [] : [againMs]));
  return { steps, ...(times.length > 0 && { againMs: Math.min(...times) }) };
}

function keep(wanted: Wanted, { ordinal, process, drain, startAfterMs }: Slot, nowMs: number): Decision {
  const resume: Step[] = drain ? [{ step: 'resume', ordinal }] : [];
  if (process || !wanted.portsBound) return { steps: resume };
  if (startAfterMs > nowMs) return { steps: resume, againMs: startAfterMs - nowMs };
  return { steps: [...resume, { step: 'start', ordinal }] };
}

/**
 * Replicas go from the highest on: mail moves to lower ones, and what a higher one has marked for a replica can only be
 * taken by that.
 */
function drain(
  wanted: Wanted,
  { ordinal, process, drain, startAfterMs, emptied }: Slot,
  nowMs: number,
  mayGo: boolean,
): Decision {
  if (drain?.stopped && !process) return { steps: [] };
  const begin: Step[] = drain ? [] : [{ step: 'drain', ordinal }];
  const leftMs = (drain?.sinceMs ?? nowMs) + wanted.drainTimeoutMs - nowMs;
  if (process?.stopping) return { steps: begin };
  if (process) {
    if ((process.drained && mayGo) || leftMs <= 0) return { steps: [...begin, { step: 'terminate', ordinal }] };
    return { steps: begin, againMs: leftMs };
  }
  if (emptied || leftMs <= 0) return { steps: [...begin, { step: 'settle', ordinal }] };
  // It ended by itself, or with the program, before it was drained.
  if (!wanted.portsBound) return { steps: begin, againMs: leftMs };
  if (startAfterMs > nowMs) return { steps: begin, againMs: Math.min(leftMs, startAfterMs - nowMs) };
  return { steps: [...begin, { step: 'start', ordinal }] };
}
