/**
 * Group commit: changes of many sessions share one transaction and so one fsync. One that fails takes nothing of the
 * others with it: the group is then done again, each change in a savepoint of its own.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Applied, type Changes, RefusedChange } from './changes.ts';
import { sqliteCode } from './database.ts';
import type { Change, Failure } from './requests.ts';
import { integerOf } from './rows.ts';
import { SpoolDamage, type WriteFailure } from './spool.ts';
import type { Totals } from './totals.ts';

export type Outcome =
  | { readonly ok: true; readonly applied: Applied }
  | { readonly ok: false; readonly failure: Failure };

/**
 * An fsync failed. What the disk holds is unknown then, also after an fsync that succeeds later: the kernel may have
 * dropped the pages. Only a process that starts anew and reads the disk can tell.
 */
export class FailedSync extends Error {
  override readonly name = 'FailedSync';
}

/** The database is no longer one: only a start that looks through it can tell what is left. */
export class DamagedDatabase extends Error {
  override readonly name = 'DamagedDatabase';
}

const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CONSTRAINT = 19;
const SQLITE_IOERR_FSYNC = 1034;
const SQLITE_IOERR_DIR_FSYNC = 1290;
/** 16 MiB of WAL. */
const CHECKPOINT_PAGES = 1000;

/** New to this spool: it can stay where it comes from. */
const isIntake = ({ kind }: Change): boolean => kind === 'accept' || kind === 'adopt';

export class GroupCommit {
  readonly #db: DatabaseSync;
  readonly #changes: Pick<Changes, 'apply'>;
  readonly #totals: Pick<Totals, 'add'>;
  readonly #giveRoom: () => boolean;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #walSize: StatementSync;

  /** @param giveRoom gives up room that is kept for recording; false: there is none left */
  constructor(db: DatabaseSync, changes: Pick<Changes, 'apply'>, totals: Pick<Totals, 'add'>, giveRoom: () => boolean) {
    this.#db = db;
    this.#changes = changes;
    this.#totals = totals;
    this.#giveRoom = giveRoom;
    this.#begin = db.prepare('BEGIN');
    this.#commit = db.prepare('COMMIT');
    this.#walSize = db.prepare('PRAGMA wal_checkpoint(NOOP)');
  }

  /**
   * What became of each change, in their order. All that are ok are on disk.
   *
   * @throws {FailedSync} the process must end; any of the changes may be on disk or not.
   */
  run(group: readonly Change[]): readonly Outcome[] {
    try {
      return this.#together(group) ?? this.#apart(group);
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      const failure = failureOf(error);
      if (failure.reason === 'full' && !group.some(isIntake)) {
        if (this.#makeRoom()) return this.run(group);
        // What is too much for the room that is left may be recorded piece by piece.
        const half = Math.ceil(group.length / 2);
        if (half < group.length) return [...this.run(group.slice(0, half)), ...this.run(group.slice(half))];
      }
      // Where a disk is too full for new mail, there may still be room to record what became of the old.
      const others = group.filter((change) => !isIntake(change));
      const retried = others.length > 0 && others.length < group.length ? [...this.run(others)] : [];
      return group.map((change) => {
        const outcome = isIntake(change) ? undefined : retried.shift();
        return outcome ?? { ok: false, failure };
      });
    }
  }

  /**
   * Without savepoints, each of which costs a copy of every page that its change touches. undefined: a change failed,
   * and nothing of the group was done.
   */
  #together(group: readonly Change[]): readonly Outcome[] | undefined {
    this.#begin.run();
    let applied: readonly Applied[];
    try {
      applied = group.map((change) => this.#changes.apply(change));
      this.#totals.add(applied);
    } catch {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      return undefined;
    }
    this.#commit.run();
    return applied.map((one) => ({ ok: true, applied: one }));
  }

  #apart(group: readonly Change[]): readonly Outcome[] {
    this.#begin.run();
    const outcomes = group.map((change) => this.#member(change));
    this.#totals.add(outcomes.flatMap((outcome) => (outcome.ok ? [outcome.applied] : [])));
    this.#commit.run();
    return outcomes;
  }

  #member(change: Change): Outcome {
    this.#db.exec('SAVEPOINT member');
    try {
      const applied = this.#changes.apply(change);
      this.#db.exec('RELEASE member');
      return { ok: true, applied };
    } catch (error) {
      // Some errors (SQLITE_FULL, SQLITE_IOERR) roll the whole transaction back by themselves.
      if (!this.#db.isTransaction) throw error;
      const failure = failureOf(error);
      this.#db.exec('ROLLBACK TO member; RELEASE member');
      return { ok: false, failure };
    }
  }

  /** After a checkpoint the WAL is written anew from its start, in room that it has already. */
  #makeRoom(): boolean {
    const given = this.#giveRoom();
    const before = this.#unmoved();
    if (before > 0) this.#move();
    return given || this.#unmoved() < before;
  }

  /** Pages of the WAL that are not in the database yet. */
  #unmoved(): number {
    const wal = this.#walSize.get();
    return wal ? integerOf(wal.log) - integerOf(wal.checkpointed) : 0;
  }

  /**
   * Moves the WAL into the database when it has grown. Not SQLite's automatic checkpoint: that one would delay the
   * answers of its group, and drops errors.
   *
   * @throws {FailedSync}
   */
  checkpoint(leastPages = CHECKPOINT_PAGES): void {
    if (this.#unmoved() >= leastPages) this.#move();
  }

  #move(): void {
    try {
      this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch (error) {
      // Without room the log stays as it is, and the next commit tries again.
      failureOf(error);
    }
  }
}

export const isFull = (error: unknown): boolean => ((sqliteCode(error) ?? 0) & 0xff) === SQLITE_FULL;

/** Of a failure that tells of the disk, not of the change. */
export function writeFailure({ reason, message }: Failure): WriteFailure | undefined {
  if (reason === 'full') return { kind: 'full', problem: `the disk of the queue is full: ${message}` };
  if (reason !== 'unavailable' && reason !== 'inDoubt') return undefined;
  return { kind: 'unwritable', problem: `the queue cannot be written: ${message}` };
}

/** @throws {FailedSync | DamagedDatabase} */
export function failureOf(error: unknown): Failure {
  if (error instanceof FailedSync || error instanceof DamagedDatabase) throw error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof RefusedChange) return { reason: 'refused', message };
  if (error instanceof SpoolDamage) return { reason: 'damage', message };
  const code = sqliteCode(error);
  if (code === undefined) return { reason: 'refused', message };
  if (code === SQLITE_IOERR_FSYNC || code === SQLITE_IOERR_DIR_FSYNC) {
    throw new FailedSync(`fsync of the queue failed: ${message}`);
  }
  if ((code & 0xff) === SQLITE_CONSTRAINT) return { reason: 'refused', message };
  if ((code & 0xff) === SQLITE_FULL) return { reason: 'full', message };
  if ((code & 0xff) === SQLITE_CORRUPT) throw new DamagedDatabase(`the database of the queue is damaged: ${message}`);
  // A commit frame whose write failed may have reached the disk all the same.
  if ((code & 0xff) === SQLITE_IOERR) return { reason: 'inDoubt', message };
  return { reason: 'unavailable', message };
}
