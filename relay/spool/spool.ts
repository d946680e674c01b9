/**
 * The durable queue: the interface that receive, deliver and report see.
 *
 * A promise that `commit` or `record` returns resolves only when what it was given is on disk (fsync done). Nothing
 * here touches the network. A failed fsync ends the process: the state of the file is unknown then, and only a restart
 * that reads the disk again can tell (PostgreSQL's fsync lesson of 2018).
 */
import type { Envelope, Recipient } from './envelope.ts';
import type { QueueFilter } from './filter.ts';
import type { Hasten } from './hasten.ts';
import type { Moves } from './move.ts';

/** A delivery of one message to one destination: the unit that is scheduled, retried and recorded. */
export interface QueuedDelivery {
  readonly id: number;
  readonly queueId: string;
  /** What the scheduler counts connections for: a next hop's key or a recipient domain (see deliver/router). */
  readonly destination: string;
  readonly envelope: Envelope;
  /** Attempts made so far. */
  readonly attempts: number;
  /** Not yet final ones only. */
  readonly recipients: readonly Recipient[];
}

/** Recipients of one message that share a destination. */
export interface NewDelivery {
  readonly destination: string;
  readonly recipients: readonly Recipient[];
}

/** The content of a message as it goes out, after any signature that was stored with it. */
export interface Content {
  /** DKIM-Signature fields stored at the first deferral; undefined until then. */
  readonly signature: Buffer | undefined;
  /** Whole content where it is small enough to be held in memory (256 KiB), else a way to read it as often as needed. */
  readonly data: Buffer | { readonly sizeBytes: number; open(): AsyncIterable<Buffer> };
}

export interface Accepted {
  readonly queueId: string;
  readonly content: Content;
  readonly deliveries: readonly QueuedDelivery[];
}

/** Recipients of messages of one sender that were accepted in one slot of time, where a quota counts them (usage.ts). */
export interface Usage {
  /** User name. */
  readonly sender: string;
  readonly slot: number;
  readonly recipients: number;
}

/** A message on its way in. Ends with commit or abort, once; an intake dropped by a crash leaves no trace. */
export interface Intake {
  readonly queueId: string;
  /**
   * Appends content, which is the intake's from then on: the caller neither changes nor reads it. A returned promise asks the caller to wait
   * (back-pressure of a body file) and never rejects: a failed write is told by commit.
   */
  write(chunk: Buffer): Promise<void> | undefined;
  /**
   * Resolves when message, body and deliveries are durable: only then may the client hear 250.
   *
   * @param usage is counted in the same commit
   * @throws {SpoolUnavailable} nothing was promised; the client is told 451 and tries again.
   */
  commit(envelope: Envelope, deliveries: readonly NewDelivery[], usage?: Usage): Promise<Accepted>;
  abort(): Promise<void>;
}

/** A message made here (a DSN), to be committed together with the outcome that causes it. */
export interface SpawnedMessage {
  readonly envelope: Envelope;
  readonly content: Buffer;
  readonly deliveries: readonly NewDelivery[];
}

/** What an attempt came to. */
export interface Outcome {
  readonly delivery: number;
  /** Attempts made, this one included. */
  readonly attempts: number;
  /** Recipients that are not final yet, with their last reply; none: the delivery is over and its row goes. */
  readonly remaining: readonly Recipient[];
  /** Milliseconds since 1970 of the next attempt; ignored when nothing remains. */
  readonly dueMs: number;
  /** Refused when this intent of a person (see Steered) no longer stands. */
  readonly intent?: number;
  /** Signature to store with the message, when it was made in this attempt and something remains. */
  readonly signature?: Buffer;
}

export interface DueDestination {
  readonly destination: string;
  /** Nothing of it is due before. */
  readonly dueMs: number;
}

export interface DueDestinations {
  readonly due: readonly DueDestination[];
  /** When to ask again for others; absent: not before a delivery is deferred or parked. */
  readonly nextMs?: number;
}

/** What may be taken of a destination. */
export interface Wish {
  readonly nowMs: number;
  /** Deliveries. */
  readonly limit: number;
  /** The sender whose turn was the last one; those after it come first. */
  readonly afterSender?: string | undefined;
}

export interface Taken {
  readonly deliveries: readonly QueuedDelivery[];
  readonly lastSender?: string | undefined;
  /** There is more that is due. */
  readonly more: boolean;
  /** When the next one is; absent where there is more that is due, or nothing that waits. */
  readonly nextMs?: number;
}

/** A message as `chasqui queue` shows it. */
export interface QueuedMessage {
  readonly queueId: string;
  readonly envelope: Envelope;
  readonly deliveries: readonly {
    readonly id: number;
    readonly destination: string;
    readonly attempts: number;
    /** Absent while the first attempt is in memory, and on hold. */
    readonly dueMs?: number;
    /** On hold since then. */
    readonly heldMs?: number;
    readonly recipients: readonly Recipient[];
  }[];
  /** Id of the spool that it moves to; it is not delivered here. */
  readonly movesTo?: string;
}

export interface QueuePage {
  /** Oldest first. Of each those deliveries only that match. */
  readonly messages: readonly QueuedMessage[];
  /** Where to go on: there may be more, also where this page is empty. */
  readonly next?: string;
}

/** Recipients that wait, by destination and codes of the last reply ('' where they were not tried yet). */
export interface QueueCount {
  readonly destination: string;
  readonly reason: string;
  readonly recipients: number;
  /** Those of them that are on hold. */
  readonly held: number;
}

export interface QueueCounts {
  /** All that wait. */
  readonly recipients: number;
  /** Largest first. Of very many rows the small ones are left out, and others may be a little larger than they say. */
  readonly rows: readonly QueueCount[];
}

/** A message, or what it has for some destinations. */
export interface Selection {
  readonly queueId: string;
  /** Absent: all of them. */
  readonly destinations?: readonly string[];
}

/**
 * hold: not attempted until it is released. release: due now. retry: due now, but for what is on hold. remove: gone,
 * and nobody is told; what is removed must not be in an attempt. recall: it moves to no other spool; for one that
 * is lost, since what has it already delivers it too. Of a message that moves, all deliveries.
 */
export type Steering = 'hold' | 'release' | 'retry' | 'remove' | 'recall';

/** What a person wants to come of what is put on hold: it is returned to its sender, or deleted. */
export interface Ending {
  readonly how: 'bounce' | 'delete';
  /** Who wants it. */
  readonly by: string;
}

export interface SteerOptions {
  /** With hold: kept with it until the deliveries are over or released, and found at the next start. */
  readonly ending?: Ending;
  /** With remove: only what this intent stands for. */
  readonly intent?: number;
}

export interface Steered {
  /** Deliveries that were selected; none: the message is not in the queue. */
  readonly deliveries: number;
  /** Those of them that are now other than before. */
  readonly changed: number;
  /** On its way to another spool: not to be touched here. */
  readonly moving: boolean;
  /** Names the ending that was asked for. */
  readonly intent?: number;
}

/** A message, or what it has for some destinations, on hold until it is ended. */
export interface Intended extends Ending {
  readonly queueId: string;
  readonly destinations: readonly string[];
  readonly intent: number;
}

export interface Requeued {
  /** Found this time. */
  readonly deliveries: number;
  /** There is more to look through. */
  readonly more: boolean;
}

export interface SpoolStats {
  readonly messages: number;
  readonly deliveries: number;
  /** Messages that move to another spool and are still here; absent when there are none. */
  readonly moving?: number;
  /** Arrival of the oldest message, milliseconds since 1970; absent when empty. */
  readonly oldestMs?: number;
}

/** Changes that cannot be written now, because of no room or of the disk. */
export interface WriteFailure {
  readonly kind: 'full' | 'unwritable';
  readonly problem: string;
}

/** Why no new mail is taken. full: out of its bounds, or of room. damaged: some of what was committed is missing. */
export interface Hindrance {
  readonly kind: WriteFailure['kind'] | 'damaged';
  readonly problem: string;
}

export const HINDRANCES: readonly Hindrance['kind'][] = ['full', 'unwritable', 'damaged'];

/** What the queue may hold. */
export interface IntakeBounds {
  readonly minFreeBytes: number;
  readonly maxMessages: number;
}

export interface SpoolHealth {
  /** Absent: new mail is taken. */
  readonly hindrance?: Hindrance;
  /** Outcomes can be recorded. */
  readonly records: boolean;
  /** Room on the disk, the unused part of the database counted in. */
  readonly freeBytes: number;
  /** Size of the disk. */
  readonly diskBytes: number;
  /** Deliveries and messages that were found damaged since the start and are held. */
  readonly setAside: number;
  /** Times since the start that nothing could be taken, such as for a disk that cannot be read. */
  readonly readFailures: number;
  /** The queue was too large to be checked before the start, and is being checked while it runs. */
  readonly unchecked: boolean;
}

export interface Spool {
  /** First part of every queue id of this spool. */
  readonly spoolId: string;
  /** To and from the spools of other replicas. */
  readonly moves: Moves;
  /**
   * Starts a message and gives it its queue id.
   *
   * @throws {SpoolUnavailable} when no mail is taken now.
   */
  open(): Intake;
  /** Sets what the queue may hold from now on. */
  bound(bounds: IntakeBounds): void;
  /** Known without asking the disk; at most a second old. */
  health(): SpoolHealth;
  /** Destinations that may have something due, those that wait longest first. @param after the last one of the page before */
  destinations(nowMs: number, limit: number, after?: DueDestination): Promise<DueDestinations>;
  /**
   * Takes deliveries of a destination that are due; each of its senders has a share. They are in hand from then on, and
   * not given out again until their outcome is recorded; those whose outcome never is, at the next start.
   */
  take(destination: string, wish: Wish): Promise<Taken>;
  /** Deliveries that were taken and not tried: they may be taken again. */
  giveBack(deliveries: readonly number[]): Promise<void>;
  /** @throws {SpoolDamage} when the crc of a row is wrong; of a body file, its reader throws before the last chunk. */
  read(queueId: string): Promise<Content>;
  /** Enters accepted deliveries that the scheduler could not keep in memory into the index, due at once. */
  park(deliveries: readonly number[]): Promise<void>;
  /** For a clock that was set back; see hasten.ts. */
  hasten(by: Hasten): Promise<void>;
  /**
   * Looks through a bounded part of the queue for deliveries that were in memory when the last process ended: they are
   * due now. Opening has looked through the newest part, in which nearly all of them are.
   */
  requeue(): Promise<Requeued>;
  /** Records outcomes and the messages they cause in one commit: all of it is durable, or none. */
  record(outcomes: readonly Outcome[], spawned: readonly SpawnedMessage[]): Promise<readonly Accepted[]>;
  list(limit: number): Promise<readonly QueuedMessage[]>;
  show(queueId: string): Promise<QueuedMessage | undefined>;
  /** Looks on from where a page ended, through a bounded number of messages. */
  search(filter: QueueFilter, after: string | undefined, limit: number): Promise<QueuePage>;
  counts(): Promise<QueueCounts>;
  /** What moves to another spool is left as it is. */
  steer(action: Steering, selections: readonly Selection[], options?: SteerOptions): Promise<readonly Steered[]>;
  /** All that is to be ended and is not yet. */
  intended(): Promise<readonly Intended[]>;
  stats(): Promise<SpoolStats>;
  /** What was counted in the last day, earliest first. */
  usage(): Promise<readonly Usage[]>;
  /** Commits what was handed in, then closes. */
  close(): Promise<void>;
}

/** The spool cannot take or record anything now: tell the client 451, and keep what was in hand. */
export class SpoolUnavailable extends Error {
  override readonly name = 'SpoolUnavailable';
}

/** There is no room: tell the client 452. */
export class SpoolFull extends SpoolUnavailable {}

/** A change contradicts the spool: it names what is no longer there. Nothing of it was done. */
export class ChangeRefused extends Error {
  override readonly name = 'ChangeRefused';
}

/** Content or rows of a message that do not match their crc. */
export class SpoolDamage extends Error {
  override readonly name = 'SpoolDamage';
}
