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

/** An unknown user costs as much time as a known one, so the time does not tell which there are. */
const NOBODY: UserDocument['verifier'] = {
  salt: randomBytes(16).toString('base64'),
  iterations: 4096,
  storedKey: randomBytes(32).toString('base64'),
  serverKey: randomBytes(32).toString('base64'),
};

export class Authenticator {
  readonly #key = randomBytes(32);
  /** User name and verifier to HMAC of the password that fits. */
  readonly #known = new LRUCache<string, Buffer>({ max: REMEMBERED });
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  async check(user: UserDocument | undefined, password: string): Promise<AuthResult> {
    if (Buffer.byteLength(password) > LONGEST_PASSWORD_BYTES) return 'rejected';
    const cacheKey = user === undefined ? undefined : `${user.username}\n${user.verifier.storedKey}`;
    const mac = createHmac('sha256', this.#key).update(password).digest();
    const known = cacheKey === undefined ? undefined : this.#known.get(cacheKey);
    if (known !== undefined && timingSafeEqual(known, mac)) return 'accepted';
    if (!(await this.#turn())) return 'busy';
    try {
      const right = await fits(user?.verifier ?? NOBODY, password);
      if (!right || cacheKey === undefined) return 'rejected';
      this.#known.set(cacheKey, mac);
      return 'accepted';
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Resolves true when it is this caller's turn, false when there is no room or it took too long. */
  async #turn(): Promise<boolean> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= WAITING) return false;
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const called = () => resolve(true);
      this.#waiting.push(called);
      const timer = setTimeout(() => {
        const at = this.#waiting.indexOf(called);
        if (at >= 0) this.#waiting.splice(at, 1);
        resolve(false);
      }, WAIT_MS);
      const mine = await promise;
      clearTimeout(timer);
      if (!mine) return false;
    }
    this.#running += 1;
    return true;
  }
}

/** RFC 5802 3: StoredKey = H(HMAC(SaltedPassword, "Client Key")). */
async function fits(verifier: UserDocument['verifier'], password: string): Promise<boolean> {
  const salted = await derive(
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
