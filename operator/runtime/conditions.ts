/** Conditions: what holds of an object, and since when. */
import type { Condition } from '../../crds/common.ts';
import type { OperatorEvent } from '../backend.ts';
import type { Clock } from './plan.ts';

/** A condition before it is dated. */
export type Judgement = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

/** RFC 3339 in UTC, whole seconds: what Kubernetes keeps of a time. */
export const timestamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');

/** The next condition; its lastTransitionTime moves only when the status flips, not when reason or message change. */
export function setCondition(
  previous: Condition | undefined,
  next: Omit<Condition, 'lastTransitionTime'>,
  clock: Clock,
): Condition {
  const lastTransitionTime = previous?.status === next.status ? previous.lastTransitionTime : timestamp(clock());
  return { ...next, lastTransitionTime };
}

/** All conditions of an object, in the order of the judgements. Types that are not judged any more go. */
export function setConditions(
  object: {
    readonly metadata: { readonly generation: number };
    readonly status?: { readonly conditions?: readonly Condition[] };
  },
  judgements: readonly Judgement[],
  clock: Clock,
): Condition[] {
  const previous = new Map(object.status?.conditions?.map((condition) => [condition.type, condition]));
  return judgements.map((judgement) =>
    setCondition(previous.get(judgement.type), { ...judgement, observedGeneration: object.metadata.generation }, clock),
  );
}

/** Ready: True when all the others are, else the first that is not. What is Unknown by choice is left out by the caller. */
export function readyFrom(judgements: readonly Judgement[]): Judgement {
  const hindrance = judgements.find(({ status }) => status !== 'True');
  if (!hindrance) return { type: 'Ready', status: 'True', reason: 'Ready', message: 'In force.' };
  return { type: 'Ready', status: 'False', reason: hindrance.reason, message: hindrance.message };
}

/** An event for each condition that turned or is False for another reason. What is expected at first is not told. */
export function conditionEvents(
  previous: readonly Condition[] | undefined,
  next: readonly Condition[] | undefined,
): Pick<OperatorEvent, 'type' | 'reason' | 'message'>[] {
  const before = new Map(previous?.map((condition) => [condition.type, condition]));
  return (next ?? []).flatMap((condition) => {
    const known = before.get(condition.type);
    if (known?.status === condition.status && known.reason === condition.reason) return [];
    if (condition.type === 'Accepted' && condition.status === 'False') {
      return [{ type: 'Warning' as const, reason: condition.reason, message: condition.message }];
    }
    if (condition.type === 'Ready' && (known?.status ?? 'False') !== condition.status) {
      const type = condition.status === 'True' ? ('Normal' as const) : ('Warning' as const);
      return [{ type, reason: condition.status === 'True' ? 'Ready' : 'NotReady', message: condition.message }];
    }
    return [];
  });
}
