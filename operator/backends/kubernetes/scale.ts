/**
 * How many pods a relay has, and which of them take mail. A replica that is no longer wanted stays up until its queue is
 * empty; then its claim is marked, and the StatefulSet may shrink past it. A StatefulSet takes pods away from the highest
 * ordinal down, so a replica in the middle waits for those above it. A claim beyond the replicas without the mark is a
 * queue that nobody delivers: its replica is started again, drains, and goes.
 *
 * The mark is a promise that no mail is lost with the replica, so it is taken off before the replica may take mail again.
 */

export interface OrdinalFacts {
  readonly ordinal: number;
  /** Of its queue. */
  readonly claim?: { readonly marked: boolean };
  /** It says that it drains, and has nothing left and nothing in hand. */
  readonly empty: boolean;
}

export interface ScalePlan {
  /** Of the StatefulSet. */
  readonly replicas: number;
  /** Ordinals whose claims are to be marked. */
  readonly mark: readonly number[];
  /** Before anything else: ordinals whose claims are to lose their mark. */
  readonly unmark: readonly number[];
}

/** @param wanted replicas that take mail: those with an ordinal below */
export function planScale(wanted: number, ordinals: readonly OrdinalFacts[]): ScalePlan {
  const unmark = ordinals.filter(({ ordinal, claim }) => ordinal < wanted && claim?.marked);
  const leaving = ordinals.filter(({ ordinal, claim }) => ordinal >= wanted && claim && !claim.marked);
  const mark = leaving.filter(({ empty }) => empty);
  const needed = leaving.filter(({ empty }) => !empty).map(({ ordinal }) => ordinal + 1);
  return {
    replicas: Math.max(wanted, ...needed),
    mark: mark.map(({ ordinal }) => ordinal),
    unmark: unmark.map(({ ordinal }) => ordinal),
  };
}
