/**
 * How many wrong passwords a client may send. Counted by client, and by client and user name, so that one program with
 * an old password does not lock out the others on its machine; never by user name alone, or anybody could lock out a
 * user. One that has no guess left is refused before its password is looked at, the right one too: else it could go on
 * guessing.
 */
interface Allowance {
  /** Guesses in a row. */
  readonly most: number;
  /** Time after which one more is allowed. */
  readonly everyMs: number;
}

const OF_CLIENT: Allowance = { most: 50, everyMs: 12_000 };
const OF_USER: Allowance = { most: 10, everyMs: 60_000 };
/** Clients and users that are remembered; the one that was quiet for longest is forgotten first. */
const REMEMBERED = 20_000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5_000;

/** Guesses used, and when that was so. */
interface Use {
  readonly used: number;
  readonly atMs: number;
}

/** By name; the one that was written longest ago comes first. */
type Uses = Map<string, Use>;

export class Guesses {
  readonly #now: () => number;
  readonly #clients: Uses = new Map();
  readonly #users: Uses = new Map();

  /** @param now milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Counts an attempt as wrong before it is checked, so that many at once are no more than many in turn.
   *
   * @param client network of the client (networks.ts)
   * @returns false when there is none left; nothing is counted then
   */
  take(client: string, username: string): boolean {
    const user = `${client}\n${username}`;
    const ofClient = this.#used(this.#clients, client, OF_CLIENT);
    const ofUser = this.#used(this.#users, user, OF_USER);
    if (ofClient + 1 > OF_CLIENT.most || ofUser + 1 > OF_USER.most) return false;
    this.#set(this.#clients, client, ofClient + 1);
    this.#set(this.#users, user, ofUser + 1);
    return true;
  }

  /** The attempt was none: the password is right, or was not checked. */
  giveBack(client: string, username: string): void {
    const user = `${client}\n${username}`;
    this.#set(this.#clients, client, this.#used(this.#clients, client, OF_CLIENT) - 1);
    this.#set(this.#users, user, this.#used(this.#users, user, OF_USER) - 1);
  }

  /** How long a client that was wrong waits for its reply: longer each time. */
  delayMs(client: string): number {
    const used = Math.floor(this.#used(this.#clients, client, OF_CLIENT));
    return Math.min(FIRST_DELAY_MS * 2 ** Math.max(used - 1, 0), LONGEST_DELAY_MS);
  }

  #used(uses: Uses, key: string, { everyMs }: Allowance): number {
    const use = uses.get(key);
    // A clock that is set back gives nothing and takes nothing.
    return use ? Math.max(use.used - Math.max(this.#now() - use.atMs, 0) / everyMs, 0) : 0;
  }

  // A plain Map: every session that authenticates comes and goes here, and an LRUCache that becomes empty clears room
  // for all its entries, which costs more than the check of the password.
  #set(uses: Uses, key: string, used: number): void {
    uses.delete(key);
    if (used <= 0) return;
    uses.set(key, { used, atMs: this.#now() });
    const oldest = uses.size > REMEMBERED ? uses.keys().next().value : undefined;
    if (oldest !== undefined) uses.delete(oldest);
  }
}
