/** What one attempt holds of limits: a lease of each that it has come upon, until it is over. */
import type { DestinationLimit, Lease } from './destination-limit.ts';

/** The limit has no room, and nothing was done yet: the delivery goes back to its queue. */
export class NoRoom extends Error {
  override readonly name = 'NoRoom';
  readonly limit: DestinationLimit;

  constructor(limit: DestinationLimit) {
    super(`nothing may be begun at ${limit.name} now`);
    this.limit = limit;
  }
}

export class Leases {
  readonly #held = new Map<DestinationLimit, Lease>();

  /** @param lease of the limit that the scheduler expected */
  constructor(lease?: Lease) {
    if (lease) this.#held.set(lease.limit, lease);
  }

  /**
   * @param wait with room, rather than give up: something was done already that must not be done again
   * @throws {NoRoom}
   */
  async enter(limit: DestinationLimit, wait: boolean): Promise<Lease> {
    for (;;) {
      const lease = this.#held.get(limit) ?? limit.enter();
      if (lease) {
        this.#held.set(limit, lease);
        return lease;
      }
      if (!wait) throw new NoRoom(limit);
      await new Promise<void>((resolve) => limit.wait(resolve));
    }
  }

  leave(): void {
    for (const lease of this.#held.values()) lease.leave();
    this.#held.clear();
  }
}
