/** How a relay that is deleted ends: its queues are waited for, within bounds that its owner set. */

export interface RemovalFacts {
  /** Whether a pod is left that may still deliver. */
  readonly draining: boolean;
  /** Since when it is deleted (ms since 1970). */
  readonly sinceMs: number;
  readonly nowMs: number;
  readonly drainTimeoutMs: number;
  /** Its owner says that the queues are not to be waited for. */
  readonly skipDrain: boolean;
  /** All that is in the namespace is being deleted. */
  readonly namespaceGoes: boolean;
}

/** Why the replicas are to end now; undefined: they go on delivering. */
export function endsBecause(facts: RemovalFacts): string | undefined {
  if (!facts.draining) return 'all queues are empty';
  if (facts.namespaceGoes) return 'its namespace is being deleted';
  if (facts.skipDrain) return 'it is annotated with chasqui.dev/skip-drain';
  if (facts.nowMs - facts.sinceMs >= facts.drainTimeoutMs) return 'spec.deletion.drainTimeout is over';
  return undefined;
}
