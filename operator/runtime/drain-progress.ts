/** Whether a replica that drains gets anywhere: its queue has to shrink. */

/** While the replica itself tells of what keeps it from handing its mail over (ms). */
const HINDERED_MS = 10_000;
/** Otherwise: an attempt that a destination holds up may take minutes (ms). */
const QUIET_MS = 5 * 60_000;

export class DrainProgress {
  #least = Number.POSITIVE_INFINITY;
  #sinceMs = 0;
  #problem: string | undefined;

  /** What the replica told. */
  note(messages: number, problem: string | undefined, nowMs: number): void {
    if (messages < this.#least) {
      this.#least = messages;
      this.#sinceMs = nowMs;
    }
    this.#problem = problem;
  }

  /** Why nothing moves; undefined while something does, or may. */
  stuck(nowMs: number): string | undefined {
    const quietMs = nowMs - this.#sinceMs;
    if (this.#least === 0 || quietMs < this.#limitMs) return undefined;
    return this.#problem ?? `no message has left it for ${Math.floor(quietMs / 60_000)} minutes`;
  }

  /** When to ask again without any news (ms from now). */
  againMs(nowMs: number): number | undefined {
    const leftMs = this.#sinceMs + this.#limitMs - nowMs;
    return this.#least > 0 && leftMs > 0 ? leftMs : undefined;
  }

  get #limitMs(): number {
    return this.#problem === undefined ? QUIET_MS : HINDERED_MS;
  }
}
