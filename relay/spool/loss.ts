/** Refuses a folder that remembers mail which its database does not know: it must not look like a healthy, empty queue. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { BODY_FOLDER } from './body-file.ts';
import { ID_FILE, readIds } from './id-file.ts';
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
  throw new SpoolDamage(`the queue database of ${folder} is missing: ${traces}. ${advice(folder)}`);
}

/** @throws {SpoolDamage} when the id file leads the database, which it never does unless commits were lost. */
export function refuseLostCommits(folder: string, spoolId: string, highestId: number): void {
  const ids = readIds(folder);
  if (typeof ids !== 'object') return;
  if (ids.spoolId !== spoolId) {
    throw new SpoolDamage(
      `the queue database of ${folder} is of spool ${spoolId}, ${ID_FILE} beside it of ${ids.spoolId}. ${advice(folder)}`,
    );
  }
  if (ids.highestId > highestId) {
    throw new SpoolDamage(
      `the queue database of ${folder} lost commits: it knows message ids up to ${highestId}, ${ID_FILE} up to ${ids.highestId}, so up to ${ids.highestId - highestId} messages are missing. ${advice(folder)}`,
    );
  }
}

function advice(folder: string): string {
  return `No mail is taken. Restore the database from a copy or a snapshot of the disk; to give up what is missing and begin with an empty queue, move ${folder} away.`;
}
