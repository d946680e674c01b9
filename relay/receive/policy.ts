/**
 * A policy is a small pure function that judges one stage of a session. Each stage has a list of them, in the order in
 * which they run (policies.ts); the first rejection ends the stage.
 */

export interface Rejection {
  readonly code: number;
  /** RFC 3463. */
  readonly enhanced: string;
  readonly text: string;
  /** Value of the metric label `reason`, in snake_case; from a fixed set. */
  readonly reason: string;
}

export const reject = (code: number, enhanced: string, reason: string, text: string): Rejection => ({
  code,
  enhanced,
  reason,
  text,
});

/** undefined accepts. */
export type Verdict = Rejection | undefined;

export type Policy<Input> = (input: Input) => Verdict;

/** The verdict of the first policy that rejects. */
export function judge<Input>(policies: readonly Policy<Input>[], input: Input): Verdict {
  for (const policy of policies) {
    const verdict = policy(input);
    if (verdict) return verdict;
  }
  return undefined;
}
