/** Delivery: the interface that receive (after each commit) and main see. */
import type { Envelope, Recipient } from '../spool/envelope.ts';
import type { Movable } from '../spool/move.ts';
import type { Accepted, Selection } from '../spool/spool.ts';

export interface Deliverer {
  /** Reads what waits in the spool and begins. */
  start(): Promise<void>;
  /** Takes a message that was just committed; it is tried at once, from memory where there is room. */
  enqueue(accepted: Accepted): void;
  /** See Scheduler. */
  reserve(message: Movable, take: boolean): boolean;
  gone(deliveries: readonly number[]): void;
  letGo(deliveries: readonly number[]): void;
  /** Something in the spool is due then (milliseconds since 1970). */
  wakeAt(dueMs: number): void;
  /**
   * Lets go of what was put on hold in the spool. An attempt that is under way ends first.
   *
   * @returns by queue id: what resolves when the attempts that are under way have ended, and are recorded; never rejects
   */
  withdraw(selections: readonly Selection[]): ReadonlyMap<string, Promise<void>>;
  /** Starts no new attempt, waits for those in hand up to graceMs, records their outcomes. */
  stop(graceMs: number): Promise<void>;
}

/** Where the mail of a recipient goes: decided from config when it is queued, and again at each attempt. */
export interface Router {
  /** Key by which deliveries are grouped and connections counted, for an address's domain (lower case, A-labels). */
  destinationOf(domain: string): string;
}

/** Recipients that will not get the message, for the notice to its sender (report/dsn.ts). */
export interface Failed {
  readonly queueId: string;
  readonly envelope: Envelope;
  /** Bounced or expired, with their last reply. */
  readonly recipients: readonly Recipient[];
  /** Header block of the message, blank line included, without the signature. */
  readonly headers: Buffer;
  /** The whole message, without the signature; absent where it is too large to be held in memory. */
  readonly content?: Buffer;
  readonly nowMs: number;
}
