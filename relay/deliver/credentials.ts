/**
 * The credentials that a smarthost asks for: a folder with the files `username` and `password`, as a mounted Secret is.
 * They are read for each connection, so that those that were changed are in force with the next one, and nothing of them
 * is kept.
 */
import { open } from 'node:fs/promises';
import path from 'node:path';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Readable by its owner, and by the group that a mounted Secret has; writable by its owner at most. */
const TOO_OPEN = 0o037;
/** What still fits into a line of AUTH (RFC 4954 4: 12,288 octets), twice in base64. */
const LONGEST_BYTES = 4_096;

/** @throws {Error} that says which file is wrong and why, and nothing of what is in it */
export async function readCredentials(folder: string): Promise<Credentials> {
  return {
    username: await readOne(path.join(folder, 'username')),
    password: await readOne(path.join(folder, 'password')),
  };
}

async function readOne(file: string): Promise<string> {
  await using handle = await open(file, 'r');
  const { mode, size } = await handle.stat();
  if ((mode & TOO_OPEN) !== 0) throw new Error(`${file} can be read by others, or written by its group: chmod 0600`);
  if (size > LONGEST_BYTES) throw new Error(`${file} has ${size} bytes, more than ${LONGEST_BYTES}`);
  // Editors end a file with a line end, which is no part of what is in it.
  const text = (await handle.readFile('utf8')).replace(/\r?\n$/, '');
  if (text === '') throw new Error(`${file} is empty`);
  // RFC 4616 2: no NUL within either, since it parts them.
  if (text.includes('\0')) throw new Error(`${file} has a NUL in it`);
  return text;
}
