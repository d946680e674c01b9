/** Whether the structure of a queue's database holds: its pages, and its indexes beside its tables. */
import type { DatabaseSync } from 'node:sqlite';
import { PAGE_SIZE } from './database.ts';
import { isCorrupt } from './readable-rows.ts';
import { integerOf } from './rows.ts';

/** A queue up to this size is checked at each start; a larger one where something was found in it. */
const CHECKED_BYTES = 64 * 1024 * 1024;
const MOST_PROBLEMS = 20;
/** Of an index that does not say what its table says; to make it anew loses nothing. */
const OF_AN_INDEX =
  /^(row \d+ missing from index|wrong # of entries in index|non-unique entry in index|rowid not at end)/;

export function isSoonChecked(db: DatabaseSync): boolean {
  const pages = (name: string) => integerOf(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  return (pages('page_count') - pages('freelist_count')) * PAGE_SIZE <= CHECKED_BYTES;
}

/** What is wrong, in SQLite's words; nothing: the structure is sound. */
export function structuralProblems(db: DatabaseSync): readonly string[] {
  try {
    return db
      .prepare(`PRAGMA integrity_check(${MOST_PROBLEMS})`)
      .all()
      .map(({ integrity_check: problem }) => String(problem))
      .filter((problem) => problem !== 'ok');
  } catch (error) {
    if (isCorrupt(error)) return [String(error)];
    throw error;
  }
}

/** Makes indexes anew from their tables. False: that is not all that is wrong. */
export function mendIndexes(db: DatabaseSync, problems: readonly string[]): boolean {
  // A page of an index that cannot be read at all is not told apart from one of a table: to try costs little.
  try {
    db.exec('REINDEX');
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    return false;
  }
  return problems.every((problem) => OF_AN_INDEX.test(problem)) || structuralProblems(db).length === 0;
}
