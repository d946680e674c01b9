/**
 * Quotas of users, for the whole relay: each replica has its share of them, and counts the recipients of messages that
 * it took. What was taken is counted in the commit of the message (spool/usage.ts), so no restart gives it back; what
 * open transactions have been granted is held in memory, so that sessions side by side get no more than one.
 */
import type { UserDocument } from '../config/documents.ts';
import type { Usage } from '../spool/spool.ts';
import { slotOf, slotsOf } from '../spool/usage.ts';

/** A limit that is used up. */
export interface UsedUp {
  /** For the whole relay. */
  readonly recipients: number;
  readonly per: 'hour' | 'day';
}

const WINDOWS = [
  { field: 'recipientsPerHour', per: 'hour', slots: slotsOf(3_600_000) },
  { field: 'recipientsPerDay', per: 'day', slots: slotsOf(24 * 3_600_000) },
] as const;
const LONGEST = Math.max(...WINDOWS.map(({ slots }) => slots));

/**
 * What a replica may take of a limit. All shares together are the limit; but where there are more replicas than
 * recipients, each takes one, or clients that come to the others would wait for ever.
 */
export function shareOf(limit: number, ordinal: number, replicas: number): number {
  const among = Math.max(replicas, 1);
  return Math.max(Math.floor(limit / among) + (ordinal < limit % among ? 1 : 0), 1);
}

/** Of one user: recipients by slot, in the order of time, and what open transactions hold. */
class Account {
  readonly #slots = new Map<number, number>();
  held = 0;

  get isEmpty(): boolean {
    return this.held === 0 && this.#slots.size === 0;
  }

  add(slot: number, recipients: number): void {
    this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + recipients);
  }

  /** Of the last slots, and those that transactions may add. */
  used(now: number, slots: number): number {
    this.#settle(now);
    let sum = this.held;
    for (const [slot, recipients] of this.#slots) if (slot > now - slots) sum += recipients;
    return sum;
  }

  #settle(now: number): void {
    for (const [slot, recipients] of this.#slots) {
      if (slot > now - LONGEST && slot <= now) continue;
      this.#slots.delete(slot);
      // The clock was set back: it counts from now, or a moment of a wrong date would hold for as long as it was wrong.
      if (slot > now) this.add(now, recipients);
    }
  }
}

export class Quotas {
  readonly #ordinal: number;
  readonly #now: () => number;
  readonly #accounts = new Map<string, Account>();

  /**
   * @param taken what the spool has counted
   * @param now milliseconds since 1970
   */
  constructor(taken: readonly Usage[], ordinal: number, now: () => number) {
    this.#ordinal = ordinal;
    this.#now = now;
    for (const usage of taken) this.count(usage);
  }

  /**
   * Grants a transaction one more recipient, to be given back at its end whatever came of it.
   *
   * @param quota as it is now: it may have been edited
   * @returns the limit that has no room; nothing is granted then
   */
  take(username: string, quota: UserDocument['quota'], replicas: number): UsedUp | undefined {
    const account = this.#account(username);
    if (quota) {
      const now = slotOf(this.#now());
      for (const { field, per, slots } of WINDOWS) {
        const limit = quota[field];
        if (limit === undefined) continue;
        if (account.used(now, slots) >= shareOf(limit, this.#ordinal, replicas)) return { recipients: limit, per };
      }
    }
    account.held += 1;
    return undefined;
  }

  giveBack(username: string, recipients: number): void {
    const account = this.#account(username);
    account.held -= recipients;
    if (account.isEmpty) this.#accounts.delete(username);
  }

  /** What the spool has to count together with a message; undefined for a user without a quota. */
  usage({ username, quota }: UserDocument, recipients: number): Usage | undefined {
    return quota && { sender: username, slot: slotOf(this.#now()), recipients };
  }

  /** It is on disk. */
  count({ sender, slot, recipients }: Usage): void {
    this.#account(sender).add(slot, recipients);
  }

  #account(username: string): Account {
    let account = this.#accounts.get(username);
    if (account === undefined) {
      account = new Account();
      this.#accounts.set(username, account);
    }
    return account;
  }
}
