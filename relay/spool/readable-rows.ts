/**
 * The rows of a table that can be read, where some of its pages cannot: SQLite finds the others by their row ids. A
 * range that lies behind a damaged page is passed over by doubling steps, and its end found by halving them.
 */
import type { DatabaseSync } from 'node:sqlite';
import { sqliteCode } from './database.ts';
import { integerOf } from './rows.ts';

export type Row = Readonly<Record<string, unknown>>;

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

export function isCorrupt(error: unknown): boolean {
  const code = (sqliteCode(error) ?? 0) & 0xff;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

/**
 * Columns and `row_id`, in order of row id. Ends early, without an error, where nothing more can be read.
 *
 * @param onGap called for each range that cannot be read
 */
export function* readableRows(db: DatabaseSync, table: string, onGap: () => void): Generator<Row, void, undefined> {
  let next: (after: number) => Row | undefined;
  try {
    const statement = db.prepare(`SELECT rowid AS row_id, * FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT 1`);
    next = (after) => statement.get(after);
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    onGap();
    return;
  }
  for (let after = 0; ; ) {
    const found = attempt(() => next(after));
    if (found === 'corrupt') {
      onGap();
      const readable = endOfGap(after, (from) => attempt(() => next(from)) !== 'corrupt');
      if (readable === undefined) return;
      after = readable;
      continue;
    }
    if (!found) return;
    yield found;
    after = integerOf(found.row_id);
  }
}

/** Rows of a table without row ids, or of any other, up to the first that cannot be read. */
export function* leadingRows(db: DatabaseSync, table: string, onGap = () => {}): Generator<Row, void, undefined> {
  try {
    yield* db.prepare(`SELECT * FROM ${table}`).iterate();
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    onGap();
  }
}

function attempt<T>(read: () => T): T | 'corrupt' {
  try {
    return read();
  } catch (error) {
    if (isCorrupt(error)) return 'corrupt';
    throw error;
  }
}

/** The least id from which can be read again; undefined: there is none. */
function endOfGap(start: number, isReadable: (from: number) => boolean): number | undefined {
  let bad = start;
  let step = 1;
  while (!isReadable(start + step)) {
    bad = start + step;
    step *= 2;
    if (start + step > Number.MAX_SAFE_INTEGER) return undefined;
  }
  let good = start + step;
  while (good - bad > 1) {
    const middle: number = bad + Math.floor((good - bad) / 2);
    if (isReadable(middle)) good = middle;
    else bad = middle;
  }
  return good;
}
