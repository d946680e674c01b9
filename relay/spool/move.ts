/**
 * Messages that move from the spool of one replica to that of another: the interface that relay/handover sees.
 *
 * Neither side may lose a message or hold it twice, wherever either is killed. So there are four steps, each durable
 * before the next begins:
 *
 * 1. `mark`, at the source: the message moves to the spool of that id, under a sequence number that this spool never
 *    gives again. From here on it is not delivered here, not after a restart either, and no other peer is asked.
 * 2. `adopt`, at the peer: message and ledger entry (source, sequence) are one commit. The same move again finds the
 *    entry and changes nothing, though the message may be delivered and gone by then: the entry outlives it.
 * 3. `finish`, at the source: message and mark are gone.
 * 4. `forget`, at the peer: the source has finished all moves up to a sequence number. Ledger entries up to there go,
 *    and one number stays, by which a request that was on its way all the time, and comes only now, is refused.
 *
 * A kill before 1 leaves a message that is delivered as ever. After 1 the source does not know whether 2 happened: it
 * asks for 2 again, of the same peer, until that answers. A mark is never taken back, since an answer "not here" may be
 * overtaken by a request still under way. A kill between 3 and 4 leaves ledger entries that a later 4 removes: it tells
 * of all moves before it.
 */
import type { Envelope, Recipient } from './envelope.ts';
import type { Content } from './spool.ts';

/** A message that may be moved, by its row. */
export interface Movable {
  readonly id: number;
  readonly deliveries: readonly number[];
  /** Those that have no due time: their first attempt is in memory, or about to be. */
  readonly inMemory: readonly number[];
}

export interface Marked {
  /** Names the move, together with the id of this spool. */
  readonly sequence: number;
  readonly deliveries: readonly number[];
  /** Id of the spool that it moves to. */
  readonly peer: string;
}

/** All that is kept of a message when it moves, but its content. */
export interface Moving {
  /** Spool id of the source. */
  readonly source: string;
  readonly sequence: number;
  /** The id that people know it by. */
  readonly queueId: string;
  readonly envelope: Envelope;
  /** DKIM-Signature fields that went out with an attempt: the next one sends the same. */
  readonly signature?: Buffer;
  readonly deliveries: readonly {
    readonly destination: string;
    readonly attempts: number;
    /** As the column `due` has it: also that it is on hold. */
    readonly due: number;
    readonly recipients: readonly Recipient[];
  }[];
}

/** known: it was adopted before. refused: the source said that it has finished this move, or made it of another message. */
export type Adopted = 'new' | 'known' | 'refused';

export interface Moves {
  /** Messages beyond an id that are not marked. The caller sees that none of their deliveries is in an attempt. */
  movable(afterId: number, limit: number): Promise<readonly Movable[]>;
  /** Those that were marked; what is gone, damaged or marked already is left out. */
  mark(messages: readonly Movable[], peer: string): Promise<readonly Marked[]>;
  /** Marks beyond a sequence number, in order. */
  marked(afterSequence: number, limit: number): Promise<readonly Marked[]>;
  /** @throws {SpoolDamage} undefined when there is no such mark. */
  read(sequence: number): Promise<{ readonly moving: Moving; readonly content: Content } | undefined>;
  finish(sequences: readonly number[]): Promise<void>;
  /** Every move to this peer with a sequence number up to this one is finished; 0 when nothing was ever moved. */
  finishedUpTo(peer: string): Promise<number>;
  adopt(moving: Moving, content: AsyncIterable<Buffer>): Promise<Adopted>;
  forget(source: string, upTo: number): Promise<void>;
}
