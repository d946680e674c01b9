/** The peer's side of a hand-over: takes messages of other replicas into its own spool. */
import Type from 'typebox';
import { Problem, type Route, route } from '../admin/route.ts';
import type { Observer } from '../observe/events.ts';
import type { Adopted, Moving } from '../spool/move.ts';
import { type Spool, SpoolDamage, SpoolUnavailable } from '../spool/spool.ts';
import { AdoptAnswer, BrokenTransfer, decode, ForgetBody, PeerAnswer } from './protocol.ts';
import type { OnStep } from './steps.ts';

export interface PeerOptions {
  readonly ordinal: number;
  readonly spool: Pick<Spool, 'spoolId' | 'moves' | 'health'>;
  /** Whether this replica is wanted and can take mail. One that drains takes what was marked for it before it did. */
  readonly takes: () => boolean;
  /** Something in the spool is due then (milliseconds since 1970). */
  readonly wakeAt: (dueMs: number) => void;
  readonly observer: Pick<Observer, 'log'>;
  readonly onStep: OnStep;
}

export const handoverRoutes = ({ ordinal, spool, takes, wakeAt, observer, onStep }: PeerOptions): readonly Route[] => [
  route({
    method: 'GET',
    path: '/v1/handover',
    role: 'view',
    summary: 'For replicas that drain: which spool this is, and whether it takes their mail',
    answer: PeerAnswer,
    handle: async () => ({ spool: spool.spoolId, takes: takes(), ordinal }),
  }),
  route({
    method: 'POST',
    path: '/v1/handover/{spool}',
    role: 'operate',
    summary: 'For replicas that drain: takes a message as it is, once',
    answer: AdoptAnswer,
    handle: async ({ params, content }) => {
      checkSpool(params.spool, spool.spoolId);
      // No room for it as for new mail; and a ledger that lost entries would take what it had before.
      const { hindrance } = spool.health();
      if (hindrance) throw new Problem(503, `its spool takes no mail (${hindrance.kind})`);
      const { moving, adopted } = await adopt({ spool, onStep }, content);
      if (adopted === 'new') {
        observer.log('info', 'message taken over from another replica', { queueId: moving.queueId });
        wakeAt(Math.min(...moving.deliveries.map(({ due }) => due)));
      }
      return { adopted };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/handover/{spool}/forget',
    role: 'operate',
    summary: 'For replicas that drain: what this one need not remember any more',
    body: ForgetBody,
    answer: Type.Object({}),
    handle: async ({ params, body: { source, upTo } }) => {
      checkSpool(params.spool, spool.spoolId);
      await spool.moves.forget(source, upTo);
      onStep('forgotten');
      return {};
    },
  }),
];

function checkSpool(meant: string | undefined, here: string): void {
  if (meant !== here) throw new Problem(409, `spool ${meant} is not here, but spool ${here}`);
}

async function adopt(
  { spool, onStep }: Pick<PeerOptions, 'spool' | 'onStep'>,
  chunks: AsyncIterable<Buffer>,
): Promise<{ readonly moving: Moving; readonly adopted: Adopted }> {
  try {
    const { moving, content } = await decode(chunks);
    const adopted = await spool.moves.adopt(
      moving,
      whole(content, () => onStep('received')),
    );
    onStep('adopted');
    return { moving, adopted };
  } catch (error) {
    if (error instanceof BrokenTransfer || error instanceof SpoolDamage) throw new Problem(400, error.message);
    if (error instanceof SpoolUnavailable) throw new Problem(503, error.message);
    throw error;
  }
}

async function* whole(content: AsyncIterable<Buffer>, then: () => void): AsyncGenerator<Buffer> {
  yield* content;
  then();
}
