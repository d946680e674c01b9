/**
 * Checks passwords against SCRAM-SHA-256 verifiers (RFC 5802 3): the relay never holds a password.
 *
 * PBKDF2 is dear on purpose, and it shares libuv's pool with the disk: two run at once, some wait a while, the rest is
 * turned away for now. What was right once is remembered as an HMAC under a key that lives with the process.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import type { UserDocument } from '../config/documents.ts';

const derive = promisify(pbkdf2);

export type AuthResult = 'accepted' | 'rejected' | 'busy';

const AT_ONCE = 2;
const WAITING = 64;
const WAIT_MS = 5_000;
const REMEMBERED = 10_000;
/** RFC 5802 asks for no bound; a longer password is no password of ours, and costs time. */
const LONGEST_PASSWORD_BYTES = 1_024;

type Users = ReadonlyMap<string, UserDocument>;

/** Where there are no users at all. */
const NOBODY: UserDocument['verifier'] = {
  salt: randomBytes(16).toString('base64'),
  iterations: 4_096,
  storedKey: randomBytes(32).toString('base64'),
  serverKey: randomBytes(32).toString('base64'),
};

export class Authenticator {
  readonly #key = randomBytes(32);
  /** User name and verifier to HMAC of the password that fits: another verifier is another entry. */
  readonly #known = new LRUCache<string, Buffer>({ max: REMEMBERED });
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  async check(users: Users, username: string, password: string): Promise<AuthResult> {
    if (Buffer.byteLength(password) > LONGEST_PASSWORD_BYTES) return 'rejected';
    const user = users.get(username);
    const mac = this.#hmac(password);
    const entry = user && `${username}\n${user.verifier.storedKey}`;
    const known = entry === undefined ? undefined : this.#known.get(entry);
    if (known !== undefined && timingSafeEqual(known, mac)) return 'accepted';
    if (!(await this.#turn())) return 'busy';
    try {
      const right = await fits(user?.verifier ?? this.#decoy(users, username), password);
      if (!right || entry === undefined) return 'rejected';
      this.#known.set(entry, mac);
      return 'accepted';
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  #hmac(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }

  /**
   * An unknown user costs as much time as some known one, the same one each time: iterations differ between users
   * (RFC 7677 4 gives a minimum), so a fixed number would tell who is none.
   */
  #decoy(users: Users, username: string): UserDocument['verifier'] {
    if (users.size === 0) return NOBODY;
    const skip = this.#hmac(username).readUInt32BE(0) % users.size;
    return users.values().drop(skip).next().value?.verifier ?? NOBODY;
  }

  /** Resolves true when it is this caller's turn, false when there is no room or it took too long. */
  async #turn(): Promise<boolean> {
    if (this.#running < AT_ONCE) {
      this.#running += 1;
      return true;
    }
    if (this.#waiting.length >= WAITING) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const called = () => {
      // Taken here, not after the wait: nobody else may come in between.
      this.#running += 1;
      resolve(true);
    };
    this.#waiting.push(called);
    const timer = setTimeout(() => {
      const at = this.#waiting.indexOf(called);
      if (at >= 0) this.#waiting.splice(at, 1);
      resolve(false);
    }, WAIT_MS);
    const mine = await promise;
    clearTimeout(timer);
    return mine;
  }
}

/** RFC 5802 3: StoredKey = H(HMAC(SaltedPassword, "Client Key")). */
async function fits(verifier: UserDocument['verifier'], password: string): Promise<boolean> {
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
