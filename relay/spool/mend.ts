/** Looks at a database before it is used, and mends what damage left of it. What cannot be mended is told and marked. */
import { statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { bodyPath } from './body-file.ts';
import { DAMAGE_FILE, readMark, removeMark, writeMark } from './damage-mark.ts';
import { readIds } from './id-file.ts';
import { isSoonChecked, mendIndexes, structuralProblems } from './integrity.ts';
import { leadingRows } from './readable-rows.ts';
import type { MessageRow } from './rows.ts';
import { LOST_FOLDER, type Salvaged, type SalvageOptions, salvage } from './salvage.ts';
import { SpoolDamage } from './spool.ts';
import type { Log } from './storage.ts';

/** Skipped where it is not known how far ids had gone: more than a lost WAL can hold. */
export const UNKNOWN_IDS = 2 ** 20;
/** Named one by one in the log; `lost` has all. */
const TOLD = 100;

/** True: a database made of what is readable waits to be put in place (salvage.ts). */
export function isRebuilt(db: DatabaseSync, folder: string, spoolId: string, nowMs: number, log: Log): boolean {
  const check = readMark(folder)?.check ?? false;
  if (!check && !isSoonChecked(db)) return false;
  const problems = structuralProblems(db);
  if (problems.length === 0 || mendIndexes(db, problems)) {
    if (problems.length > 0) log('error', 'an index of the queue was damaged; it is made anew', { problems });
    // What was found while it ran is mended, or was no damage of the disk.
    if (check) removeMark(folder);
    return false;
  }
  log('error', 'the database of the queue is damaged; it is made anew of what can be read', { problems });
  const salvaged = salvage(db, salvageOptions(db, folder, spoolId, nowMs, isThere));
  if (salvaged.complete && salvaged.lost.length === 0) {
    log('info', 'the database of the queue is made anew, and nothing is lost', { messages: salvaged.messages });
    if (check) removeMark(folder);
    return true;
  }
  const problem = `pages of the queue were damaged: ${lossOf(salvaged)}`;
  log('error', problem, {
    messages: salvaged.messages,
    lost: salvaged.lost.slice(0, TOLD).map(({ queueId, problem: what }) => `${queueId}: ${what}`),
  });
  writeMark(folder, { problem: `${problem}. ${adviceFor(folder)}`, check: false });
  return true;
}

export function salvageOptions(
  db: DatabaseSync,
  folder: string,
  spoolId: string,
  nowMs: number,
  checkBody: (filePath: string, row: MessageRow) => void,
): SalvageOptions {
  const ids = readIds(folder);
  let highestId = typeof ids === 'object' ? ids.highestId : 0;
  for (const { name, seq } of leadingRows(db, 'sqlite_sequence')) {
    if (name === 'message' && typeof seq === 'number') highestId = Math.max(highestId, seq);
  }
  let reservedId = highestId;
  for (const { reserved_id: reserved } of leadingRows(db, 'meta')) {
    if (typeof reserved === 'number') reservedId = Math.max(reservedId, reserved);
  }
  return {
    folder,
    spoolId,
    highestId,
    reservedId: reservedId + UNKNOWN_IDS,
    movesFrom: Math.round(nowMs),
    checkBody: (row) => checkBody(bodyPath(folder, spoolId, row.id), row),
  };
}

export const lossOf = ({ lost }: Salvaged): string =>
  lost.length === 0
    ? 'no message is known to be lost'
    : `of ${lost.length} messages something is lost; what was read of them is in the folder ${LOST_FOLDER}`;

export const adviceFor = (folder: string): string =>
  `No mail is taken until this is seen to: restore a snapshot of the disk, or stop the relay and run "chasqui spool recover --spool ${folder}", which gives up what is lost and removes ${DAMAGE_FILE}`;

/** Whole or not is seen when it is read; here only whether there is one, since starts must be fast. */
function isThere(filePath: string, { file }: MessageRow): void {
  if (statSync(filePath, { throwIfNoEntry: false })?.size !== file?.sizeBytes) {
    throw new SpoolDamage(`body file ${filePath} is missing or not as long as it was`);
  }
}
