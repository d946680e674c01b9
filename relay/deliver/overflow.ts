/**
 * Destinations with due deliveries in the spool for which there was no room in memory. Their new mail goes to the spool
 * too: if it took the room that becomes free, what waits in the spool would wait as long as new mail comes. All but a
 * little: the first message of a sender who has nothing waiting in memory need not wait until those before it have
 * gone, which at a slow destination may be long. So few may pass between two looks into the spool that these always come.
 */
interface Overflow {
  /** Whose turn was the last one. */
  readonly lastSender: string | undefined;
  /** New deliveries that passed what is in the spool since it was looked at. */
  passed: number;
}

export class Overflows {
  readonly #byDestination = new Map<string, Overflow>();
  readonly #mayPass: number;

  /** @param mayPass new deliveries to a destination between two looks into the spool */
  constructor(mayPass: number) {
    this.#mayPass = mayPass;
  }

  has(destination: string): boolean {
    return this.#byDestination.has(destination);
  }

  add(destination: string): void {
    if (!this.has(destination)) this.#byDestination.set(destination, { lastSender: undefined, passed: 0 });
  }

  /** What there was room for is taken. @param more is left in the spool */
  taken(destination: string, lastSender: string | undefined, more: boolean): void {
    if (more) this.#byDestination.set(destination, { lastSender, passed: 0 });
    else this.#byDestination.delete(destination);
  }

  lastSenderOf(destination: string): string | undefined {
    return this.#byDestination.get(destination)?.lastSender;
  }

  /** @param isFirst its sender has nothing waiting in memory for the destination */
  letsPass(destination: string, isFirst: boolean): boolean {
    const overflow = this.#byDestination.get(destination);
    return overflow === undefined || (isFirst && overflow.passed < this.#mayPass);
  }

  /** A new delivery went to memory. */
  passed(destination: string): void {
    const overflow = this.#byDestination.get(destination);
    if (overflow) overflow.passed += 1;
  }
}
