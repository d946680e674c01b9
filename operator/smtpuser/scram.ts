/** SCRAM-SHA-256 verifiers (RFC 5802 3, RFC 7677): what a server checks passwords with, without knowing them. */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import type { UserDocument } from '../../relay/config/documents.ts';

export type Verifier = UserDocument['verifier'];

const derive = promisify(pbkdf2);

/** The least that RFC 7677 4 allows; enough for 256 random bits, which no number of guesses finds. */
const ROUNDS = 4_096;

export async function makeVerifier(
  password: string,
  { salt = randomBytes(16), iterations = ROUNDS }: { readonly salt?: Buffer; readonly iterations?: number } = {},
): Promise<Verifier> {
  // SASLprep (RFC 4013) where it matters to what people type, as the relay does: compatible characters are the same.
  const salted = await derive(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  return {
    salt: salt.toString('base64'),
    iterations,
    storedKey: createHash('sha256').update(clientKey).digest('base64'),
    serverKey: createHmac('sha256', salted).update('Server Key').digest('base64'),
  };
}
