/**
 * AUTH as a client (RFC 4954), by PLAIN (RFC 4616) or, where a server offers nothing else, LOGIN. Both tell the password:
 * they are for connections that are encrypted, which the caller sees to.
 */
import type { Credentials } from './credentials.ts';

/** Sends a line and resolves with the reply, if it has that code; throws what says how it was answered instead. */
export type Exchange = (line: string, code: 235 | 334) => Promise<void>;

/**
 * @param mechanisms as offered, in upper case
 * @throws {Error} when the server offers neither, or what `exchange` throws
 */
export async function authenticate(
  exchange: Exchange,
  mechanisms: readonly string[],
  { username, password }: Credentials,
): Promise<void> {
  if (mechanisms.includes('PLAIN')) return exchange(`AUTH PLAIN ${base64(`\0${username}\0${password}`)}`, 235);
  if (!mechanisms.includes('LOGIN')) {
    const offered = mechanisms.length > 0 ? `it offers only ${mechanisms.join(' ')}` : 'it offers no AUTH';
    throw new Error(`${offered}, and PLAIN or LOGIN is needed`);
  }
  await exchange('AUTH LOGIN', 334);
  await exchange(base64(username), 334);
  await exchange(base64(password), 235);
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
