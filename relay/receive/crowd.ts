/** The sessions that are open, over all listeners of the replica: how many, how many of each client, and who may go. */

export interface Member {
  /** Its network (networks.ts). */
  readonly client: string;
  /** Whether it may send mail by now: it has authenticated, or is exempt. */
  isKnown(): boolean;
  /** How long the client makes us wait: one that is known since it last did something, any other since it came. */
  waitedMs(): number;
  /** Ends the session for the sake of others; it has left when this returns. */
  giveWay(): void;
}

/** No client that means to send mail waits longer; it is the stress-time limit of Postfix, too. */
const LONG_MS = 10_000;

export class Crowd {
  readonly #members = new Set<Member>();
  readonly #ofClient = new Map<string, number>();
  /** Nobody can have waited for long before. */
  #nobodyBeforeMs = Number.NEGATIVE_INFINITY;

  get all(): number {
    return this.#members.size;
  }

  of(client: string): number {
    return this.#ofClient.get(client) ?? 0;
  }

  enter(member: Member): void {
    this.#members.add(member);
    this.#ofClient.set(member.client, this.of(member.client) + 1);
  }

  leave(member: Member): void {
    if (!this.#members.delete(member)) return;
    const left = this.of(member.client) - 1;
    if (left > 0) this.#ofClient.set(member.client, left);
    else this.#ofClient.delete(member.client);
  }

  /**
   * For a newcomer where it is full: thousands that connect and say next to nothing keep nobody out. Of those that we
   * have waited for long one has to go: one that is not known before one that is, and the longest first.
   *
   * @param nowMs of a clock that never jumps
   * @returns whether one went
   */
  makeRoom(nowMs: number): boolean {
    // Asked by each newcomer: not all are looked at each time.
    if (nowMs < this.#nobodyBeforeMs) return false;
    let chosen: Member | undefined;
    let longestMs = 0;
    for (const member of this.#members) {
      const waitedMs = member.waitedMs();
      longestMs = Math.max(longestMs, waitedMs);
      if (waitedMs >= LONG_MS && (chosen === undefined || goesBefore(member, chosen))) chosen = member;
    }
    if (chosen === undefined) this.#nobodyBeforeMs = nowMs + LONG_MS - longestMs;
    chosen?.giveWay();
    return chosen !== undefined;
  }
}

const goesBefore = (one: Member, other: Member): boolean =>
  one.isKnown() === other.isKnown() ? one.waitedMs() > other.waitedMs() : other.isKnown();
