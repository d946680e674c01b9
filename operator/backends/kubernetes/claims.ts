/** The claims of a relay: which ordinal each is of, whether it is marked as drained, how large it is to be. */
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { LiveObject } from './api.ts';
import { amountOf } from './children/drift.ts';
import { ANNOTATIONS, CLAIM, ordinalOf } from './children/identity.ts';

/** Replicas an SmtpRelay can have: nothing makes a pod of a claim with a higher ordinal. */
const MOST_REPLICAS = 100;

export interface Claim {
  readonly ordinal: number;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Its queue was empty for good. */
  readonly marked: boolean;
  readonly deleting: boolean;
  /** It has a volume. */
  readonly bound: boolean;
  /** What it asks for, as a Quantity. */
  readonly size: string | undefined;
}

const Spec = Schema.Compile(
  Type.Object({
    resources: Type.Object({ requests: Type.Object({ storage: Type.String() }) }),
  }),
);

const Status = Schema.Compile(Type.Object({ phase: Type.String() }));

/** Undefined for one that is of no replica of the relay. */
export function claimOf(relay: string, { metadata, spec, status }: LiveObject): Claim | undefined {
  const { namespace, name, uid, annotations, deletionTimestamp } = metadata;
  const ordinal = ordinalOf(name);
  if (ordinal === undefined || ordinal >= MOST_REPLICAS || name !== `${CLAIM}-${relay}-${ordinal}`) return undefined;
  return {
    ...{ ordinal, namespace, name, uid },
    marked: annotations?.[ANNOTATIONS.drained] !== undefined,
    deleting: deletionTimestamp !== undefined,
    bound: Status.Check(status) && status.phase === 'Bound',
    size: Spec.Check(spec) ? spec.resources.requests.storage : undefined,
  };
}

const isSmaller = (size: string | undefined, than: string): boolean =>
  size !== undefined && (amountOf(size) ?? Number.POSITIVE_INFINITY) < (amountOf(than) ?? 0);

/** Claims that are to grow; an API server lets none do so that has no volume yet. */
export const tooSmall = (claims: readonly Claim[], size: string): readonly Claim[] =>
  claims.filter((claim) => claim.bound && !claim.deleting && isSmaller(claim.size, size));

/** The size of claims that are made from now on: volumes never shrink. */
export const sizeOfNew = (wanted: string, former: string | undefined): string =>
  former === undefined || isSmaller(former, wanted) ? wanted : former;
