/**
 * Checks passwords against SCRAM-SHA-256 verifiers (RFC 5802 3): the relay never holds a password.
 *
 * PBKDF2 is dear on purpose, and it shares libuv's pool with the disk: two run at once, some wait a while, the rest is
 * turned away for now. What was right once is remembered as an HMAC under a key that lives with the process.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import type { UserDocument, VerifierDocument } from '../config/documents.ts';
import { Guesses } from './guesses.ts';

const derive = promisify(pbkdf2);

/** busy: not now, for nobody; limited: this client was wrong too often. Neither tells of the password. */
export type AuthResult = 'accepted' | 'rejected' | 'busy' | 'limited';

export interface Attempt {
  /** Network of the client (networks.ts). */
  readonly client: string;
  readonly username: string;
  readonly password: string;
}

const AT_ONCE = 2;
const WAITING = 64;
/** Of one client, so that it cannot hold up all others. */
const WAITING_OF_CLIENT = 16;
const WAIT_MS = 5_000;
const REMEMBERED = 10_000;
/** RFC 5802 asks for no bound; a longer password is no password of ours, and costs time. */
const LONGEST_PASSWORD_BYTES = 1_024;
/** NAME.NAMESPACE has 317 at most; what is longer would only fill the memory of guesses. */
const LONGEST_USERNAME = 320;

type Users = ReadonlyMap<string, UserDocument>;

/** Where there are no users at all. */
const NOBODY: readonly VerifierDocument[] = [
  {
    salt: randomBytes(16).toString('base64'),
    iterations: 4_096,
    storedKey: randomBytes(32).toString('base64'),
    serverKey: randomBytes(32).toString('base64'),
  },
];

/** While a password is being changed, that before is taken too. */
const verifiersOf = ({ verifier, previousVerifier }: UserDocument): readonly VerifierDocument[] =>
  previousVerifier ? [verifier, previousVerifier] : [verifier];

export class Authenticator {
  readonly #key = randomBytes(32);
  readonly #guesses: Guesses;
  readonly #waitMs: number;
  /** User name and verifier to HMAC of the password that fits: another verifier is another entry. */
  readonly #known = new LRUCache<string, Buffer>({ max: REMEMBERED });
  /** A client that opens many sessions at once asks the same for each: it is checked once. */
  readonly #inHand = new Map<string, Promise<AuthResult>>();
  readonly #waiting: { readonly client: string; readonly called: () => void }[] = [];
  #running = 0;

  /** @param now milliseconds since 1970 */
  constructor(now: () => number, waitMs = WAIT_MS) {
    this.#guesses = new Guesses(now);
    this.#waitMs = waitMs;
  }

  async check(users: Users, attempt: Attempt): Promise<AuthResult> {
    const { client, username, password } = attempt;
    const tooLong = username.length > LONGEST_USERNAME || Buffer.byteLength(password) > LONGEST_PASSWORD_BYTES;
    if (tooLong) return this.#guesses.take(client, '') ? 'rejected' : 'limited';
    const user = users.get(username);
    const mac = this.#hmac(password);
    const verifiers = (user ? verifiersOf(user) : []).map(({ storedKey }) => storedKey);
    const question = [client, username, ...verifiers, mac.toString('base64')].join('\n');
    const same = this.#inHand.get(question);
    if (same) return await same;
    const result = this.#judge(users, attempt, mac).finally(() => this.#inHand.delete(question));
    this.#inHand.set(question, result);
    return await result;
  }

  /** How long the client has to wait for the reply when it was wrong. */
  delayMs(client: string): number {
    return this.#guesses.delayMs(client);
  }

  async #judge(users: Users, { client, username, password }: Attempt, mac: Buffer): Promise<AuthResult> {
    if (!this.#guesses.take(client, username)) return 'limited';
    const user = users.get(username);
    const verifiers = user ? verifiersOf(user) : this.#decoy(users, username);
    const entryOf = ({ storedKey }: VerifierDocument): string => `${username}\n${storedKey}`;
    const isKnown = (verifier: VerifierDocument): boolean => {
      const known = this.#known.get(entryOf(verifier));
      return known !== undefined && timingSafeEqual(known, mac);
    };
    if (user && verifiers.some(isKnown)) {
      this.#guesses.giveBack(client, username);
      return 'accepted';
    }
    const fitting = await this.#derive(client, verifiers, password);
    // What a decoy says is about someone else.
    if (fitting === undefined || (fitting !== 'busy' && !user)) return 'rejected';
    this.#guesses.giveBack(client, username);
    if (fitting === 'busy') return 'busy';
    this.#known.set(entryOf(fitting), mac);
    return 'accepted';
  }

  /** The verifier that the password fits, if one does. */
  async #derive(
    client: string,
    verifiers: readonly VerifierDocument[],
    password: string,
  ): Promise<VerifierDocument | 'busy' | undefined> {
    if (!(await this.#turn(client))) return 'busy';
    try {
      for (const verifier of verifiers) if (await fits(verifier, password)) return verifier;
      return undefined;
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.called();
    }
  }

  #hmac(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }

  /**
   * An unknown user costs as much time as some known one, the same one each time: iterations differ between users
   * (RFC 7677 4 gives a minimum), so a fixed number would tell who is none.
   */
  #decoy(users: Users, username: string): readonly VerifierDocument[] {
    if (users.size === 0) return NOBODY;
    const skip = this.#hmac(username).readUInt32BE(0) % users.size;
    const someone = users.values().drop(skip).next().value;
    return someone ? verifiersOf(someone) : NOBODY;
  }

  /** Resolves true when it is this caller's turn, false when there is no room or it took too long. */
  async #turn(client: string): Promise<boolean> {
    if (this.#running < AT_ONCE) {
      this.#running += 1;
      return true;
    }
    if (this.#waiting.length >= WAITING) return false;
    if (this.#waiting.filter((one) => one.client === client).length >= WAITING_OF_CLIENT) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const called = () => {
      // Taken here, not after the wait: nobody else may come in between.
      this.#running += 1;
      resolve(true);
    };
    const waiting = { client, called };
    this.#waiting.push(waiting);
    const timer = setTimeout(() => {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
      resolve(false);
    }, this.#waitMs);
    const mine = await promise;
    clearTimeout(timer);
    return mine;
  }
}

/** RFC 5802 3: StoredKey = H(HMAC(SaltedPassword, "Client Key")). */
async function fits(verifier: VerifierDocument, password: string): Promise<boolean> {
  const salted = await derive(
    // SASLprep (RFC 4013) where it matters to what people type: compatible characters are the same.
    password.normalize('NFKC'),
    Buffer.from(verifier.salt, 'base64'),
    verifier.iterations,
    32,
    'sha256',
  );
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest();
  const expected = Buffer.from(verifier.storedKey, 'base64');
  return storedKey.length === expected.length && timingSafeEqual(storedKey, expected);
}
