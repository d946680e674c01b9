/**
 * One process holds a state folder. Node has no flock; SQLite takes a POSIX lock on the file, and the kernel drops it
 * when the process ends, whichever way it ends, so a lock is never left behind.
 *
 * No other code of the process may open DIR/lock: closing any descriptor of a file drops all POSIX locks that the
 * process has on it. Hence the holder's process id is in a file of its own, which proves nothing and only tells.
 */
import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { replaceFile } from './durable-file.ts';

const SQLITE_BUSY = 5;
/** `chasqui status` asks for the lock for a moment, to know whether somebody has it. */
const WAIT_MS = 300;

/** A database that nothing refers to is closed, and its lock lost: these last as long as the process. */
const held = new Set<DatabaseSync>();

/** Another process holds the state folder. */
export class StateLocked extends Error {
  override readonly name = 'StateLocked';
}

export interface Lock {
  release(): void;
}

/**
 * Takes the lock of a state folder.
 * @throws {StateLocked} that says who has it
 */
export function lockState(state: string): Lock {
  const database = new DatabaseSync(path.join(state, 'lock'), { timeout: WAIT_MS });
  const holder = path.join(state, 'lock.pid');
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    throw new StateLocked(
      `${state} is held by another chasqui standalone (process ${pidIn(holder)}): stop that one, or choose another --state`,
    );
  }
  held.add(database);
  replaceFile(holder, `${process.pid}\n`);
  return {
    release: () => {
      rmSync(holder, { force: true });
      held.delete(database);
      database.close();
    },
  };
}

const isBusy = (error: unknown): boolean =>
  error instanceof Error &&
  'errcode' in error &&
  typeof error.errcode === 'number' &&
  (error.errcode & 0xff) === SQLITE_BUSY;

function pidIn(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().slice(0, 20) || 'unknown';
  } catch {
    return 'unknown';
  }
}
