/**
 * ids.json beside the database: which spool this is and the highest message id that was ever committed in it.
 *
 * It is there for the two losses that SQLite cannot tell from a healthy start: a database that is gone (looks like a
 * first start) and bytes that went bad in the WAL (SQLite silently ends the log before them). It is written after the
 * commit, so it may lag behind the database but never lead it: a file that leads proves that committed mail is missing.
 */
import { closeSync, fdatasyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';

export const ID_FILE = 'ids.json';

export interface Ids {
  readonly spoolId: string;
  readonly highestId: number;
}

/** What the file says; undefined where there is none, 'unreadable' where it is not one that we wrote. */
export function readIds(folder: string): Ids | 'unreadable' | undefined {
  let text: string;
  try {
    text = readFileSync(path.join(folder, ID_FILE), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  return parseIds(text) ?? 'unreadable';
}

function parseIds(text: string): Ids | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('spoolId' in value) || !('highestId' in value)) return undefined;
  const { spoolId, highestId } = value;
  if (typeof spoolId !== 'string' || typeof highestId !== 'number') return undefined;
  const ids = { spoolId, highestId };
  return formatIds(ids) === text ? ids : undefined;
}

function formatIds({ spoolId, highestId }: Ids): string {
  const crc = crc32(`${spoolId} ${highestId}`).toString(16).padStart(8, '0');
  return `${JSON.stringify({ spoolId, highestId, crc })}\n`;
}

/** The open id file. The spool's lock is held by whoever has one. */
export class IdFile {
  readonly #descriptor: number;
  #synced = true;

  constructor(folder: string) {
    this.#descriptor = openSync(path.join(folder, ID_FILE), 'r+');
  }

  /** Makes the file, durable but for its folder entry. */
  static create(folder: string, ids: Ids): void {
    // Under its name it is whole at any moment: half of one would look like damage after a kill.
    const temporary = path.join(folder, `${ID_FILE}.new`);
    const descriptor = openSync(temporary, 'w', 0o600);
    writeSync(descriptor, formatIds(ids), 0);
    fdatasyncSync(descriptor);
    closeSync(descriptor);
    renameSync(temporary, path.join(folder, ID_FILE));
  }

  /**
   * Overwrites in place: the text only ever grows, and lies within one sector, which a disk writes whole or not at all.
   * Call only when highestId is committed.
   */
  write(ids: Ids): void {
    writeSync(this.#descriptor, formatIds(ids), 0);
    this.#synced = false;
  }

  sync(): void {
    if (this.#synced) return;
    fdatasyncSync(this.#descriptor);
    this.#synced = true;
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
