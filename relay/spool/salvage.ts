/**
 * Makes a new database of what can be read and matches its crc in a damaged one. What is wrong of a message takes all of
 * the message out: an envelope without its body is no mail. Whatever was read of it goes to the folder `lost`.
 */
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { bodyPath } from './body-file.ts';
import { createDatabase, DATABASE_FILE } from './database.ts';
import { syncFolder } from './folder.ts';
import { formatQueueId } from './queue-id.ts';
import { leadingRows, type Row, readableRows } from './readable-rows.ts';
import { contentOf, deliveryRow, integerOf, type MessageRow, messageRow } from './rows.ts';
import { SpoolDamage } from './spool.ts';
import { TOTAL_TABLE } from './totals.ts';

export const LOST_FOLDER = 'lost';
export const REBUILT_FILE = 'queue.db.rebuilt';

export interface Lost {
  readonly queueId: string;
  readonly problem: string;
}

export interface Salvaged {
  readonly messages: number;
  readonly deliveries: number;
  readonly lost: readonly Lost[];
  /** Every row could be read: nothing is lost but what is listed. */
  readonly complete: boolean;
}

export interface SalvageOptions {
  readonly folder: string;
  readonly spoolId: string;
  /** Neither given to a message again. */
  readonly reservedId: number;
  readonly highestId: number;
  /**
   * Moves are numbered from here on (move.ts), by the time (ms since 1970): the highest number may be among what was
   * lost, and this is beyond any that was given.
   */
  readonly movesFrom: number;
  /** Checks a body in a file. @throws {SpoolDamage} */
  readonly checkBody: (row: MessageRow) => void;
}

/** Writes REBUILT_FILE beside the database, which is left as it is; `putInPlace` takes it. */
export function salvage(old: DatabaseSync, options: SalvageOptions): Salvaged {
  const { folder, spoolId } = options;
  const file = path.join(folder, REBUILT_FILE);
  removeRebuilt(folder);
  const fresh = createDatabase(file, spoolId, options.reservedId);
  try {
    const rescue = new Rescue(old, fresh, options);
    fresh.exec('BEGIN');
    const salvaged = rescue.run();
    fresh.exec('COMMIT');
    return salvaged;
  } finally {
    fresh.close();
  }
}

/** What was not put in place before the process ended. */
export function removeRebuilt(folder: string): void {
  for (const suffix of ['', '-journal', '-wal', '-shm'])
    rmSync(path.join(folder, REBUILT_FILE + suffix), { force: true });
}

/** The damaged database stays beside the new one, under another name. The spool's lock is let go of before. */
export function putInPlace(folder: string, name: string): void {
  const database = path.join(folder, DATABASE_FILE);
  const kept = path.join(folder, name);
  // A WAL that is left would be read into the new database.
  for (const suffix of ['-wal', '-shm']) {
    try {
      renameSync(database + suffix, kept + suffix);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  try {
    linkSync(database, kept);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  renameSync(path.join(folder, REBUILT_FILE), database);
  syncFolder(folder);
}

class Rescue {
  readonly #old: DatabaseSync;
  readonly #fresh: DatabaseSync;
  readonly #options: SalvageOptions;
  /** Messages of which something is wrong, and what. */
  readonly #problems = new Map<number, string>();
  /** Messages some of whose deliveries are damaged. */
  readonly #parts = new Map<number, string>();
  readonly #sound = new Map<number, MessageRow>();
  #complete = true;
  readonly #onGap = (): void => {
    this.#complete = false;
  };
  readonly #bodies = new Set<number>();
  readonly #deliveries = new Map<number, number>();

  constructor(old: DatabaseSync, fresh: DatabaseSync, options: SalvageOptions) {
    this.#old = old;
    this.#fresh = fresh;
    this.#options = options;
  }

  run(): Salvaged {
    this.#copy('message', (row) => {
      const message = messageRow(row);
      this.#sound.set(message.id, message);
      if (message.file) this.#options.checkBody(message);
    });
    this.#copy('body', (row) => {
      const id = integerOf(row.message);
      contentOf('body', id, row.content, row.crc);
      this.#bodies.add(id);
    });
    this.#copy('delivery', (row) => {
      const { message } = deliveryRow(row);
      this.#deliveries.set(message, (this.#deliveries.get(message) ?? 0) + 1);
    });
    this.#copy('signature', (row) => contentOf('signature', integerOf(row.message), row.fields, row.crc));
    this.#others();
    this.#judge();
    for (const id of this.#problems.keys()) this.#remove(id);
    const count = (table: string) => integerOf(this.#fresh.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n);
    this.#dropMarks();
    this.#sequence('message', this.#options.highestId);
    this.#sequence('moving', this.#options.movesFrom);
    return {
      messages: count('message'),
      deliveries: count('delivery'),
      complete: this.#complete,
      lost: [...new Map([...this.#parts, ...this.#problems])].map(([id, problem]) => ({
        queueId: this.#queueId(id),
        problem,
      })),
    };
  }

  #copy(table: 'message' | 'body' | 'delivery' | 'signature', check: (row: Row) => void): void {
    const insert = inserter(this.#fresh, table);
    for (const { row_id: rowId, ...row } of readableRows(this.#old, table, this.#onGap)) {
      try {
        check(row);
        insert(row);
      } catch (error) {
        const id = table === 'message' ? rowId : row.message;
        const problem = error instanceof Error ? error.message : String(error);
        // Without its signature a message is signed anew.
        if (typeof id === 'number' && table !== 'signature') this.#setAside(table, id, row, problem);
      }
    }
  }

  #setAside(table: string, id: number, row: Row, problem: string): void {
    // The other deliveries of the message go on.
    if (table === 'delivery') this.#parts.set(id, problem);
    else this.#lose(id, problem);
    if (row.content instanceof Uint8Array) keepLost(this.#options.folder, this.#queueId(id), 'eml', row.content);
    else keepLost(this.#options.folder, this.#queueId(id), 'json', `${JSON.stringify(row)}\n`);
  }

  /** Tables that other steps of the pipeline keep here: without them the queue still delivers. */
  #others(): void {
    const known = new Set(['meta', 'message', 'body', 'delivery', 'signature', 'sqlite_sequence', TOTAL_TABLE]);
    for (const { name, sql } of leadingRows(
      this.#old,
      "(SELECT name, sql FROM sqlite_schema WHERE type = 'table')",
      this.#onGap,
    )) {
      if (typeof name !== 'string' || known.has(name) || typeof sql !== 'string') continue;
      this.#fresh.exec(sql);
      const insert = inserter(this.#fresh, name);
      for (const row of leadingRows(this.#old, name, this.#onGap)) insert(row);
    }
    for (const { name, seq } of leadingRows(this.#old, 'sqlite_sequence')) {
      if (typeof name === 'string' && typeof seq === 'number') this.#sequence(name, seq);
    }
  }

  /** Of messages that are lost: there is nothing left to move. */
  #dropMarks(): void {
    const found = this.#fresh.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'moving'").get();
    if (found) this.#fresh.exec('DELETE FROM moving WHERE message NOT IN (SELECT id FROM message)');
  }

  #sequence(table: string, atLeast: number): void {
    const found = this.#fresh.prepare('SELECT seq FROM sqlite_sequence WHERE name = ?').get(table);
    if (!found) this.#fresh.prepare('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)').run(table, atLeast);
    else this.#fresh.prepare('UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?').run(atLeast, table);
  }

  #judge(): void {
    for (const [id, row] of this.#sound) {
      if (!row.file && !this.#bodies.has(id)) this.#lose(id, 'its body cannot be read');
      // Deliveries that are over have no row: only that none is left of a message that is still there is sure.
      if (!this.#deliveries.has(id)) this.#lose(id, 'none of its deliveries can be read');
    }
    for (const id of [...this.#bodies, ...this.#deliveries.keys()]) {
      if (!this.#sound.has(id)) this.#lose(id, 'its envelope cannot be read');
    }
  }

  #lose(id: number, problem: string): void {
    if (!this.#problems.has(id)) this.#problems.set(id, problem);
  }

  #queueId(id: number): string {
    return formatQueueId(this.#options.spoolId, id);
  }

  #remove(id: number): void {
    const { folder, spoolId } = this.#options;
    const body = this.#fresh.prepare('DELETE FROM body WHERE message = ? RETURNING content').get(id);
    if (body?.content instanceof Uint8Array) keepLost(folder, this.#queueId(id), 'eml', body.content);
    else if (this.#sound.get(id)?.file) moveBody(folder, spoolId, id);
    const message = this.#fresh.prepare('DELETE FROM message WHERE id = ? RETURNING envelope').get(id);
    if (message) keepLost(folder, this.#queueId(id), 'json', `${String(message.envelope)}\n`);
    this.#fresh.prepare('DELETE FROM signature WHERE message = ?').run(id);
    for (const row of this.#fresh.prepare('DELETE FROM delivery WHERE message = ? RETURNING *').all(id)) {
      keepLost(folder, this.#queueId(id), 'json', `${JSON.stringify(row)}\n`);
    }
  }
}

function inserter(db: DatabaseSync, table: string): (row: Row) => void {
  const columns = db
    .prepare(`PRAGMA table_info(${table})`)
    .all()
    .map(({ name }) => String(name));
  const insert = db.prepare(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map((name) => `:${name}`).join(', ')})`,
  );
  return (row) => insert.run(Object.fromEntries(columns.map((name) => [name, storable(row[name])])));
}

function storable(value: unknown): string | number | bigint | Uint8Array | null {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint')
    return value;
  if (value instanceof Uint8Array) return value;
  throw new SpoolDamage('a row has a column less than its table');
}

function keepLost(folder: string, queueId: string, suffix: 'json' | 'eml', content: string | Uint8Array): void {
  mkdirSync(path.join(folder, LOST_FOLDER), { recursive: true, mode: 0o700 });
  writeFileSync(path.join(folder, LOST_FOLDER, `${queueId}.${suffix}`), content, { flag: 'a', mode: 0o600 });
}

/** Of a message whose row is lost, to be looked through by a person. */
export function moveBody(folder: string, spoolId: string, id: number): void {
  mkdirSync(path.join(folder, LOST_FOLDER), { recursive: true, mode: 0o700 });
  const name = `${formatQueueId(spoolId, id)}.eml`;
  try {
    renameSync(bodyPath(folder, spoolId, id), path.join(folder, LOST_FOLDER, name));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}
