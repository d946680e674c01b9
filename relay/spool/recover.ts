/**
 * A spool looked through, and made whole of what is left of it, while no relay runs on it. Recovery ends with a queue that
 * takes mail again: what could not be had back is given up then, so it is told message by message, and kept for a person
 * to look through in the folder `lost`.
 */
import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { BODY_FOLDER, bodyPath } from './body-file.ts';
import { DAMAGE_FILE, readMark, removeMark, writeMark } from './damage-mark.ts';
import { createDatabase, DATABASE_FILE, openDatabase } from './database.ts';
import { ID_FILE, IdFile, readIds } from './id-file.ts';
import { structuralProblems } from './integrity.ts';
import { adviceFor, salvageOptions, UNKNOWN_IDS } from './mend.ts';
import { formatQueueId, newSpoolId, parseQueueId } from './queue-id.ts';
import { readableRows } from './readable-rows.ts';
import { contentOf, deliveryRow, integerOf, type MessageRow, messageRow } from './rows.ts';
import { type Lost, moveBody, putInPlace, REBUILT_FILE, removeRebuilt, salvage } from './salvage.ts';
import { SpoolDamage, SpoolUnavailable } from './spool.ts';

export interface SpoolCheck {
  /** Absent where the database cannot be opened. */
  readonly spoolId?: string;
  readonly messages: number;
  /** None: nothing is wrong. */
  readonly problems: readonly string[];
}

export interface Recovery {
  readonly spoolId: string;
  readonly messages: number;
  readonly deliveries: number;
  readonly lost: readonly Lost[];
  /** Messages of which nothing is left, not even that they were there: what is known of them. */
  readonly gap?: string;
}

const READ_BYTES = 1024 * 1024;

/** Whether there is, or was, a spool in a folder. */
export const isSpool = (folder: string): boolean =>
  existsSync(path.join(folder, DATABASE_FILE)) || existsSync(path.join(folder, ID_FILE));

/** @throws {SpoolUnavailable} when a relay runs on it. */
export async function checkSpool(folder: string): Promise<SpoolCheck> {
  const opened = await open(folder);
  if (typeof opened === 'string') return { messages: 0, problems: [opened] };
  const { db, spoolId } = opened;
  try {
    const mark = readMark(folder);
    const gap = gapOf(db, folder, spoolId);
    const rows = rowProblems(db, folder, spoolId);
    return {
      spoolId,
      messages: rows.messages,
      problems: [
        ...(mark ? [`${DAMAGE_FILE} says: ${mark.problem}`] : []),
        ...structuralProblems(db),
        ...rows.problems,
        ...(gap === undefined ? [] : [gap]),
      ],
    };
  } finally {
    db.close();
  }
}

/** @throws {SpoolUnavailable} when a relay runs on it. */
export async function recoverSpool(folder: string, nowMs: number): Promise<Recovery> {
  const opened = await open(folder);
  const before = `${DATABASE_FILE}.before-recovery-${nowMs}`;
  const recovery = typeof opened === 'string' ? beginAnew(folder, opened, nowMs) : rebuild(folder, opened, nowMs);
  // A start that finds no mark removes the bodies that no message names: they go to `lost` first.
  writeMark(folder, { problem: `a recovery was broken off. ${adviceFor(folder)}`, check: false });
  putInPlace(folder, before);
  IdFile.create(folder, { spoolId: recovery.spoolId, highestId: recovery.highestId });
  const kept = await keptBodies(folder);
  const orphans = readdirSync(path.join(folder, BODY_FOLDER)).flatMap((name) => {
    const id = parseQueueId(recovery.spoolId, name);
    return id === undefined || kept.has(id) ? [] : [id];
  });
  for (const id of orphans) moveBody(folder, recovery.spoolId, id);
  removeMark(folder);
  const known = new Set(recovery.lost.map(({ queueId }) => queueId));
  const found = orphans
    .map((id) => ({ queueId: formatQueueId(recovery.spoolId, id), problem: 'only its body is left' }))
    .filter(({ queueId }) => !known.has(queueId));
  const { spoolId, messages, deliveries, gap } = recovery;
  return { spoolId, messages, deliveries, lost: [...recovery.lost, ...found], ...(gap === undefined ? {} : { gap }) };
}

type Rebuilt = Recovery & { readonly highestId: number };

function rebuild(folder: string, { db, spoolId }: { db: DatabaseSync; spoolId: string }, nowMs: number): Rebuilt {
  try {
    const gap = gapOf(db, folder, spoolId);
    const options = salvageOptions(db, folder, spoolId, nowMs, checkBody);
    const { messages, deliveries, lost } = salvage(db, options);
    return { spoolId, messages, deliveries, lost, highestId: options.highestId, ...(gap === undefined ? {} : { gap }) };
  } finally {
    db.close();
  }
}

/** Nothing can be read of the database. The spool keeps its name: its queue ids stand in logs and in bodies. */
function beginAnew(folder: string, problem: string, nowMs: number): Rebuilt {
  const ids = readIds(folder);
  const { spoolId, highestId } = typeof ids === 'object' ? ids : { spoolId: newSpoolId(), highestId: 0 };
  removeRebuilt(folder);
  const db = createDatabase(path.join(folder, REBUILT_FILE), spoolId, highestId + UNKNOWN_IDS);
  const sequence = db.prepare('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)');
  sequence.run('message', highestId);
  // Peers know this spool by its name, and the moves that it made (move.ts): their numbers are not given again.
  sequence.run('moving', Math.round(nowMs));
  db.close();
  const gap = `${problem}: whatever was queued is lost, with queue ids up to ${formatQueueId(spoolId, highestId)}`;
  return { spoolId, messages: 0, deliveries: 0, lost: [], gap, highestId };
}

async function open(folder: string): Promise<{ db: DatabaseSync; spoolId: string } | string> {
  if (!existsSync(path.join(folder, DATABASE_FILE))) return `${DATABASE_FILE} is missing`;
  try {
    return await openDatabase(folder, 0, {
      onWait: () => {},
      beforeCreate: () => {
        throw new SpoolDamage(`${DATABASE_FILE} is empty`);
      },
    });
  } catch (error) {
    if (error instanceof SpoolUnavailable || !(error instanceof SpoolDamage)) throw error;
    return error.message;
  }
}

function gapOf(db: DatabaseSync, folder: string, spoolId: string): string | undefined {
  const ids = readIds(folder);
  if (typeof ids !== 'object' || ids.spoolId !== spoolId) return undefined;
  const highest = integerOf(db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'message'").get()?.seq ?? 0);
  if (ids.highestId <= highest) return undefined;
  return `messages were lost whole: those of the queue ids from ${formatQueueId(spoolId, highest + 1)} to ${formatQueueId(spoolId, ids.highestId)}, where they had been answered`;
}

function rowProblems(db: DatabaseSync, folder: string, spoolId: string): { messages: number; problems: string[] } {
  const problems: string[] = [];
  let messages = 0;
  const look = (table: string, check: (row: Readonly<Record<string, unknown>>) => void): void => {
    const onGap = () => problems.push(`some rows of the table ${table} cannot be read`);
    for (const row of readableRows(db, table, onGap)) {
      try {
        check(row);
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
  };
  const hasBody = db.prepare('SELECT 1 FROM body WHERE message = ?');
  look('message', (columns) => {
    messages += 1;
    const row = messageRow(columns);
    if (row.file) checkBody(bodyPath(folder, spoolId, row.id), row);
    else if (!hasBody.get(row.id)) throw new SpoolDamage(`message row ${row.id} has no body`);
  });
  look('body', (row) => contentOf('body', integerOf(row.message), row.content, row.crc));
  look('delivery', deliveryRow);
  look('signature', (row) => contentOf('signature', integerOf(row.message), row.fields, row.crc));
  return { messages, problems };
}

/** @throws {SpoolDamage} */
function checkBody(filePath: string, { file }: MessageRow): void {
  if (!file) return;
  if (!existsSync(filePath)) throw new SpoolDamage(`body file ${filePath} is missing`);
  const descriptor = openSync(filePath, 'r');
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let crc = 0;
    let sizeBytes = 0;
    for (let bytes = readSync(descriptor, buffer); bytes > 0; bytes = readSync(descriptor, buffer)) {
      crc = crc32(buffer.subarray(0, bytes), crc);
      sizeBytes += bytes;
    }
    if (crc !== file.crc || sizeBytes !== file.sizeBytes) {
      throw new SpoolDamage(`body file ${filePath} does not match its crc`);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Messages whose bodies are in files, by the database that is in place now. */
async function keptBodies(folder: string): Promise<ReadonlySet<number>> {
  const opened = await open(folder);
  if (typeof opened === 'string') throw new SpoolDamage(opened);
  const ids = opened.db
    .prepare('SELECT id FROM message WHERE file_bytes IS NOT NULL')
    .all()
    .map(({ id }) => integerOf(id));
  opened.db.close();
  return new Set(ids);
}
