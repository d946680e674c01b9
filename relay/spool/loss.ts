/** Finds a folder that remembers mail which its database does not know: it must not look like a healthy, empty queue. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { BODY_FOLDER } from './body-file.ts';
import { ID_FILE, readIds } from './id-file.ts';
import { adviceFor } from './mend.ts';
import { SpoolDamage } from './spool.ts';

/** For a folder without a database, before one is made. @throws {SpoolDamage} when there was one. */
export function refuseLostDatabase(folder: string): void {
  const ids = readIds(folder);
  const bodies = readdirSync(path.join(folder, BODY_FOLDER)).length;
  if (ids === undefined && bodies === 0) return;
  const traces =
    typeof ids === 'object'
      ? `${ID_FILE} knows spool ${ids.spoolId} with message ids up to ${ids.highestId}`
      : `there are ${bodies} bodies of its messages${ids ? ` and an unreadable ${ID_FILE}` : ''}`;
  throw new SpoolDamage(`the queue database of ${folder} is missing: ${traces}. ${adviceFor(folder)}`);
}

/**
 * Why commits must be missing: the id file leads the database, which it never does otherwise.
 *
 * @throws {SpoolDamage} when they are of two spools.
 */
export function lostCommits(folder: string, spoolId: string, highestId: number): string | undefined {
  const ids = readIds(folder);
  if (typeof ids !== 'object') return undefined;
  if (ids.spoolId !== spoolId) {
    throw new SpoolDamage(
      `the queue database of ${folder} is of spool ${spoolId}, ${ID_FILE} beside it of ${ids.spoolId}. ${adviceFor(folder)}`,
    );
  }
  if (ids.highestId <= highestId) return undefined;
  return `the queue database of ${folder} lost commits: it knows message ids up to ${highestId}, ${ID_FILE} up to ${ids.highestId}, so up to ${ids.highestId - highestId} messages are missing. ${adviceFor(folder)}`;
}
