/**
 * The database file of a spool: opened under its lock, with the pragmas that durability rests on read back, made where
 * there is none. What it does not understand it does not touch.
 *
 * No other code of the process may open queue.db: closing any descriptor of a file drops all POSIX locks that the
 * process has on it, SQLite's among them.
 */
import { chmodSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { newSpoolId } from './queue-id.ts';
import { integerOf, textOf } from './rows.ts';
import { SpoolDamage, SpoolUnavailable } from './spool.ts';

export const DATABASE_FILE = 'queue.db';

/** 'chsq' in ASCII: `file` and a curious person can tell whose database this is. */
const APPLICATION_ID = 0x63687371;
const SCHEMA_VERSION = 1;
/** A body of 100 KiB costs 0.10 ms in a row with pages of 16 KiB and 0.18 ms with SQLite's 4 KiB. */
export const PAGE_SIZE = 16384;
/**
 * What a group commit of the size that mail comes and goes in needs. Pages of a larger one are written to the WAL before
 * its COMMIT, where they count for nothing without it.
 */
const CACHE_KIB = 8192;
const LOCK_RETRY_MS = 50;

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/**
 * `message` is written once. Its deliveries have consecutive ids, so the few that belong to one message are found by
 * range and need no index. A full index on (lane, due) would double the cost of a message at a million rows; the
 * partial one is untouched by mail that is delivered at the first attempt.
 */
const SCHEMA = `
CREATE TABLE meta (
  spool_id TEXT NOT NULL,
  reserved_id INTEGER NOT NULL
) STRICT;
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  first_delivery INTEGER NOT NULL,
  deliveries INTEGER NOT NULL,
  envelope TEXT NOT NULL,
  file_bytes INTEGER,
  file_crc INTEGER,
  crc INTEGER NOT NULL
) STRICT;
CREATE TABLE body (
  message INTEGER PRIMARY KEY,
  content BLOB NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE TABLE signature (
  message INTEGER PRIMARY KEY,
  fields BLOB NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message INTEGER NOT NULL,
  destination TEXT NOT NULL,
  sender TEXT NOT NULL,
  due INTEGER,
  attempts INTEGER NOT NULL,
  recipients TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_due ON delivery (destination, sender, due) WHERE due IS NOT NULL;
`;

export interface OpenedDatabase {
  readonly db: DatabaseSync;
  readonly spoolId: string;
}

export interface OpeningSteps {
  /** Another process holds the folder; said once. */
  readonly onWait: () => void;
  /** There is no database yet. Throws where there should be one. */
  readonly beforeCreate: () => void;
}

/**
 * Opens or makes the database of a folder, waiting up to lockWaitMs for another process to let go of it.
 *
 * @throws {SpoolUnavailable} when another process holds it, or its version is newer than this program.
 * @throws {SpoolDamage} when it is not a database of ours or its pragmas do not hold.
 */
export async function openDatabase(folder: string, lockWaitMs: number, steps: OpeningSteps): Promise<OpenedDatabase> {
  const giveUpAt = performance.now() + lockWaitMs;
  for (let tries = 1; ; tries++) {
    const db = new DatabaseSync(path.join(folder, DATABASE_FILE), { timeout: 0 });
    try {
      return prepare(db, folder, steps);
    } catch (error) {
      db.close();
      const code = sqliteCode(error);
      if (code === undefined) throw error;
      if ((code & 0xff) === SQLITE_NOTADB || (code & 0xff) === SQLITE_CORRUPT) {
        throw new SpoolDamage(`${path.join(folder, DATABASE_FILE)} is not a readable database: ${String(error)}`);
      }
      if ((code & 0xff) !== SQLITE_BUSY) throw new SpoolUnavailable(`cannot open spool ${folder}: ${String(error)}`);
      if (performance.now() >= giveUpAt) {
        throw new SpoolUnavailable(`spool ${folder} is in use by another process; one relay holds a spool at a time`);
      }
      if (tries === 1) steps.onWait();
    }
    await sleep(LOCK_RETRY_MS);
  }
}

function prepare(db: DatabaseSync, folder: string, { beforeCreate }: OpeningSteps): OpenedDatabase {
  // Before the first read: the lock is taken with it and held until the process ends, whichever way it ends. It also
  // keeps the WAL index in memory, where no other process can write to it.
  db.exec('PRAGMA locking_mode = EXCLUSIVE');
  const applicationId = pragma(db, 'application_id');
  const version = pragma(db, 'user_version');
  const empty = integerOf(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n) === 0;
  const fresh = empty && applicationId === 0 && version === 0;
  if (!fresh && applicationId !== APPLICATION_ID) {
    throw new SpoolDamage(
      `${path.join(folder, DATABASE_FILE)} is not a Chasqui queue (application_id ${applicationId})`,
    );
  }
  if (integerOf(version) > SCHEMA_VERSION) {
    throw new SpoolUnavailable(
      `spool ${folder} was written by a newer version (format ${version}, this program knows ${SCHEMA_VERSION}): start that version`,
    );
  }
  if (fresh) beforeCreate();
  // Once a database is in WAL mode its page size cannot change, and trying does not fail: it stays at 4096.
  if (fresh) db.exec(`PRAGMA page_size = ${PAGE_SIZE}`);
  // By name, not by descriptor; the WAL takes the mode of the database.
  chmodSync(path.join(folder, DATABASE_FILE), 0o600);
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -${CACHE_KIB};
    PRAGMA temp_store = MEMORY;`);
  // SQLite drops the error of an automatic checkpoint, a failed fsync too: group.ts makes them, and sees it.
  db.exec('PRAGMA wal_autocheckpoint = 0');
  if (fresh) create(db, newSpoolId(), 0);
  refuseWrong(db, folder);
  return { db, spoolId: textOf(db.prepare('SELECT spool_id FROM meta').get()?.spool_id) };
}

/** Makes a database at a path where there is none, to be put in place of a damaged one. The caller closes it. */
export function createDatabase(filePath: string, spoolId: string, reservedId: number): DatabaseSync {
  const db = new DatabaseSync(filePath);
  db.exec(`PRAGMA page_size = ${PAGE_SIZE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL`);
  create(db, spoolId, reservedId);
  return db;
}

function create(db: DatabaseSync, spoolId: string, reservedId: number): void {
  db.exec('BEGIN');
  db.exec(SCHEMA);
  db.prepare('INSERT INTO meta (spool_id, reserved_id) VALUES (?, ?)').run(spoolId, reservedId);
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
}

/** Pragmas fail silently; a queue without them would answer 250 for mail that is not on disk. */
function refuseWrong(db: DatabaseSync, folder: string): void {
  const wanted: readonly [string, string | number][] = [
    ['page_size', PAGE_SIZE],
    ['journal_mode', 'wal'],
    ['synchronous', 2],
    ['locking_mode', 'exclusive'],
    ['wal_autocheckpoint', 0],
  ];
  for (const [name, value] of wanted) {
    const found = pragma(db, name);
    if (found !== value) {
      throw new SpoolDamage(
        `spool ${folder}: ${name} is ${found} where ${value} is needed; it was not made by this program`,
      );
    }
  }
}

function pragma(db: DatabaseSync, name: string): string | number {
  const value = Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
  return typeof value === 'number' ? value : textOf(value);
}

/** Extended result code of an error that SQLite gave. */
export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode : undefined;
}
