/**
 * The spool folder as one thing: database, id file, bodies. Opening it repairs what a crash may leave and refuses what
 * would hide a loss; after that it carries out requests. Runs in the writer thread and knows nothing of threads.
 */
import { mkdirSync, statfsSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Arrivals } from './arrivals.ts';
import { BackgroundCheck } from './background-check.ts';
import { BODY_FOLDER, removeBody, removeOrphans } from './body-file.ts';
import { Changes } from './changes.ts';
import { readMark, writeMark } from './damage-mark.ts';
import { openDatabase, PAGE_SIZE } from './database.ts';
import { Departures } from './departures.ts';
import { syncFolder } from './folder.ts';
import { FailedSync, failureOf, GroupCommit, isFull, type Outcome, writeFailure } from './group.ts';
import { ID_FILE, IdFile, readIds } from './id-file.ts';
import { isSoonChecked } from './integrity.ts';
import { Intents } from './intents.ts';
import { Lanes } from './lanes.ts';
import { lostCommits, refuseLostDatabase } from './loss.ts';
import { isRebuilt, UNKNOWN_IDS } from './mend.ts';
import { Questions } from './questions.ts';
import { isCorrupt } from './readable-rows.ts';
import type { Answer, Change, Opened, Question, RowName, WriterOptions, WriterReport } from './requests.ts';
import { RESERVE_BYTES, Reserve } from './reserve.ts';
import { integerOf } from './rows.ts';
import { putInPlace } from './salvage.ts';
import { Search } from './search.ts';
import type { WriteFailure } from './spool.ts';
import { Taking } from './taking.ts';
import { Totals } from './totals.ts';
import { LOOKED_AT_FIRST, Unfinished } from './unfinished.ts';
import { UsageTable } from './usage.ts';

export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/**
 * Message ids that are given out before they are committed are reserved first, this many at a time. So an id that was
 * seen anywhere (a log line, a Received field of a message that was cut off) never names another message, though no row
 * of it was ever written.
 */
export const RESERVED_IDS = 65536;
const SCARCE_BYTES = 4 * RESERVE_BYTES;

export class Storage {
  readonly opened: Opened;
  readonly #folder: string;
  readonly #db: DatabaseSync;
  readonly #log: Log;
  readonly #usage: UsageTable;
  readonly #departures: Departures;
  readonly #arrivals: Arrivals;
  readonly #intents: Intents;
  readonly #group: GroupCommit;
  readonly #questions: Questions;
  readonly #search: Search;
  readonly #lanes: Lanes;
  readonly #taking: Taking;
  #check: BackgroundCheck | undefined;
  readonly #idFile: IdFile;
  readonly #freePages: StatementSync;
  readonly #touch: StatementSync;
  readonly #reserve: Reserve;
  readonly #damaged: string | undefined;
  #failing: WriteFailure | undefined;
  #disk = { bytes: 0, freeBytes: 0 };
  #highestId: number;
  #messages: number;
  #deliveries: number;

  private constructor(db: DatabaseSync, spoolId: string, { folder, openedMs }: WriterOptions, log: Log) {
    this.#folder = folder;
    this.#db = db;
    this.#log = log;
    const ids = readIds(folder);
    const found = highestId(db, 'message');
    const lost = lostCommits(folder, spoolId, found);
    if (lost !== undefined && !readMark(folder)) {
      log('error', lost);
      writeMark(folder, { problem: lost, check: false });
    }
    this.#damaged = readMark(folder)?.problem;
    // What was lost had ids: none of them is given again.
    this.#highestId = typeof ids === 'object' ? Math.max(found, ids.highestId) : found;
    const unknown = typeof ids !== 'object' || lost !== undefined;
    const reserved = reserve(db, this.#highestId, unknown ? UNKNOWN_IDS : 0);
    this.#departures = new Departures(db);
    const unfinished = new Unfinished(db).look(highestId(db, 'delivery'), LOOKED_AT_FIRST, openedMs);
    this.opened = { spoolId, ...reserved, requeueUpTo: unfinished.next };
    if (typeof ids !== 'object') this.#createIdFile(ids);
    this.#idFile = new IdFile(folder);
    this.#writeIds();
    this.#usage = new UsageTable(db, openedMs);
    this.#reserve = new Reserve(folder);
    const totals = new Totals(db);
    if (this.#damaged !== undefined) totals.recount();
    ({ messages: this.#messages, deliveries: this.#deliveries } = totals.get());
    this.#group = new GroupCommit(db, new Changes(db, this.#usage), totals, () => this.#reserve.giveUp());
    this.#freePages = db.prepare('PRAGMA freelist_count');
    // SQLite writes nothing where a row stays the same; an id that is reserved and never given does no harm.
    this.#touch = db.prepare('UPDATE meta SET reserved_id = reserved_id + 1');
    this.#arrivals = new Arrivals(db);
    this.#intents = new Intents(db);
    const peerOf = (message: number): string | undefined => this.#departures.peerOf(message);
    this.#questions = new Questions(db, peerOf);
    this.#search = new Search(db, peerOf);
    this.#lanes = new Lanes(db);
    this.#taking = new Taking(this.#lanes, this.#questions, log);
    if (!isSoonChecked(db)) {
      log('info', 'the queue is too large to be checked before the start; it is checked while it runs');
      this.#check = new BackgroundCheck(db, highestId(db, 'delivery'), (delivery, error) =>
        log('error', `${error.message}; it is set aside when its time comes`, { delivery }),
      );
    }
    // Of messages whose rows were lost the bodies may be all that is left.
    if (this.#damaged !== undefined) return;
    const orphans = removeOrphans(folder, spoolId, (id) => this.#questions.hasBodyFile(id));
    if (orphans.length > 0) log('info', 'removed bodies that no message names', { bodies: orphans.length });
  }

  /**
   * What is damaged is mended where it can be, else told; no mail is taken then.
   *
   * @throws {SpoolDamage} when the database is missing, or not one of ours.
   * @throws {SpoolUnavailable} when another process holds the folder, or a newer version wrote it.
   */
  static async open(options: WriterOptions, log: Log): Promise<Storage> {
    const { folder, lockWaitMs } = options;
    mkdirSync(path.join(folder, BODY_FOLDER), { recursive: true, mode: 0o700 });
    const steps = {
      onWait: () => log('info', 'another process holds the spool; waiting for it', { folder, waitMs: lockWaitMs }),
      beforeCreate: () => refuseLostDatabase(folder),
    };
    for (let madeRoom = false; ; ) {
      const { db, spoolId } = await openDatabase(folder, lockWaitMs, steps);
      try {
        if (!isRebuilt(db, folder, spoolId, options.openedMs, log)) return new Storage(db, spoolId, options, log);
      } catch (error) {
        // Closing moves the WAL into the database, into room that it has, and gives the WAL's own back.
        db.close();
        if (isFull(error) && !madeRoom) {
          madeRoom = true;
          new Reserve(folder).giveUp();
          continue;
        }
        // A large one is not looked through at each start: it is now, once.
        if (!isCorrupt(error) || readMark(folder)?.check) throw error;
        writeMark(folder, { problem: `the queue cannot be read: ${String(error)}`, check: true });
        continue;
      }
      db.close();
      putInPlace(folder, `queue.db.damaged-${options.openedMs}`);
    }
  }

  /** @throws {FailedSync} */
  commit(changes: readonly Change[]): readonly Outcome[] {
    const outcomes = this.#group.run(changes);
    this.#judge(outcomes);
    const applied = outcomes.flatMap((outcome) => (outcome.ok ? [outcome.applied] : []));
    const highest = Math.max(0, ...applied.map((one) => one.highestId));
    if (highest > this.#highestId) {
      this.#highestId = highest;
      this.#writeIds();
    }
    for (const { messages, deliveries, recorded, places } of applied) {
      this.#messages += messages;
      this.#deliveries += deliveries;
      this.#lanes.release(recorded);
      this.#lanes.add(places);
    }
    return outcomes;
  }

  get messages(): number {
    return this.#messages;
  }

  get failing(): WriteFailure | undefined {
    return this.#failing;
  }

  report(): WriterReport {
    return {
      freeBytes: this.#freeBytes(),
      diskBytes: this.#disk.bytes,
      messages: this.#messages,
      failing: this.#failing,
      damaged: this.#damaged,
      setAside: this.#taking.setAside,
      readFailures: this.#taking.failures,
      unchecked: this.#check !== undefined,
    };
  }

  /**
   * Called each second: makes the reserve when there is room, and tries whether the disk takes something again.
   *
   * @throws {FailedSync}
   */
  look(): void {
    if (this.#failing) {
      try {
        this.#touch.run();
        this.#failing = undefined;
      } catch (error) {
        this.#failing = writeFailure(failureOf(error)) ?? this.#failing;
      }
    }
    const freeBytes = this.#freeBytes();
    if (!this.#failing) this.#reserve.keep(freeBytes);
    // While there is room the database takes what it has to grow by.
    if (freeBytes < SCARCE_BYTES) this.#group.checkpoint(1);
  }

  /**
   * Checks a little more of a queue that was too large for it at the start.
   *
   * @returns whether there is more
   * @throws {DamagedDatabase}
   */
  checkOn(): boolean {
    if (!this.#check) return false;
    const more = guardRead(this.#check);
    if (more) return true;
    this.#log('info', 'the queue is checked', { deliveries: this.#check.checked });
    this.#check = undefined;
    return false;
  }

  /** What can wait until the commit is answered. @throws {FailedSync} */
  tidy(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      if (!outcome.ok) continue;
      for (const id of outcome.applied.files) this.#removeBody(id);
    }
    this.#group.checkpoint();
  }

  /** @throws {SpoolDamage} */
  answer(question: Question): Answer {
    switch (question.kind) {
      case 'destinations':
        return this.#lanes.destinations(question.nowMs, question.limit, question.after);
      case 'take':
        return this.#taking.take(question.destination, question);
      case 'giveBack':
        return this.#lanes.giveBack(question.deliveries);
      case 'read':
        return this.#questions.read(this.#rowOf(question.id));
      case 'list':
        return this.#questions.list(question.limit, (error) => this.#log('error', error.message));
      case 'show':
        return this.#questions.show(this.#rowOf(question.id));
      case 'search':
        return this.#search.search(question.filter, question.afterId, question.limit, (error) =>
          this.#log('error', error.message),
        );
      case 'counts':
        return this.#search.counts(question.afterId);
      case 'latest':
        return this.#lanes.latestMs;
      case 'stats': {
        const oldestMs = this.#questions.oldestMs();
        const moving = this.#departures.count();
        const counts = { messages: this.#messages, deliveries: this.#deliveries, ...(moving > 0 && { moving }) };
        return oldestMs === undefined ? counts : { ...counts, oldestMs };
      }
      case 'usage':
        return this.#usage.all();
      case 'intended':
        return this.#intents.page(question.afterDelivery, question.limit);
      case 'movable':
        return this.#departures.movable(question.afterId, question.limit);
      case 'marked':
        return this.#departures.marked(question.afterSequence, question.limit);
      case 'move':
        return this.#departures.read(question.sequence);
      case 'finishedUpTo':
        return this.#departures.finishedUpTo(question.peer);
    }
  }

  /** No message has the id 0. */
  #rowOf(name: RowName): number {
    return typeof name === 'number' ? name : (this.#arrivals.named(name) ?? 0);
  }

  /** SQLite met a page that cannot be: the next start looks through the whole database. */
  markDamaged(problem: string): void {
    writeMark(this.#folder, { problem, check: true });
  }

  /** @throws {FailedSync} */
  syncIds(): void {
    try {
      this.#idFile.sync();
    } catch (error) {
      throw new FailedSync(`fsync of ${path.join(this.#folder, ID_FILE)} failed: ${String(error)}`);
    }
  }

  close(): void {
    this.syncIds();
    this.#idFile.close();
    this.#db.close();
    if (this.#freeBytesOfDisk() < SCARCE_BYTES) this.#reserve.keepWhatIsLeft();
  }

  /** Refusals and damage say nothing of the disk: others of the group may have been written. */
  #judge(outcomes: readonly Outcome[]): void {
    const failures = outcomes.flatMap((outcome) => (outcome.ok ? [] : [writeFailure(outcome.failure)]));
    const [failing] = failures.filter((failure) => failure !== undefined);
    if (failing || failures.length < outcomes.length) this.#failing = failing;
  }

  #freeBytes(): number {
    return this.#freeBytesOfDisk() + integerOf(this.#freePages.get()?.freelist_count) * PAGE_SIZE;
  }

  #freeBytesOfDisk(): number {
    try {
      const { bavail, blocks, bsize } = statfsSync(this.#folder);
      this.#disk = { bytes: blocks * bsize, freeBytes: bavail * bsize };
    } catch {
      // Where not even this can be asked, changes fail and say so.
    }
    return this.#disk.freeBytes;
  }

  #writeIds(): void {
    try {
      this.#idFile.write({ spoolId: this.opened.spoolId, highestId: this.#highestId });
    } catch (error) {
      // It may lag: it then tells less of a later loss, and nothing wrong.
      this.#log('warn', `cannot write ${ID_FILE}: ${String(error)}`);
    }
  }

  #createIdFile(found: 'unreadable' | undefined): void {
    if (found) this.#log('error', `${ID_FILE} is unreadable and was written anew: a loss before now would not be seen`);
    IdFile.create(this.#folder, { spoolId: this.opened.spoolId, highestId: this.#highestId });
    syncFolder(this.#folder);
    syncFolder(path.dirname(path.resolve(this.#folder)));
  }

  #removeBody(id: number): void {
    try {
      removeBody(this.#folder, this.opened.spoolId, id);
    } catch (error) {
      this.#log('warn', `cannot remove a body file; the next start tries again: ${String(error)}`);
    }
  }
}

/** @throws {DamagedDatabase} for a page that cannot be read as well. A disk that cannot be read now is tried again. */
function guardRead(check: BackgroundCheck): boolean {
  try {
    return check.step();
  } catch (error) {
    failureOf(error);
    return true;
  }
}

/** Highest id that was ever committed: AUTOINCREMENT remembers it when the rows are gone. */
function highestId(db: DatabaseSync, table: 'message' | 'delivery'): number {
  return integerOf(db.prepare('SELECT seq FROM sqlite_sequence WHERE name = ?').get(table)?.seq ?? 0);
}

function reserve(db: DatabaseSync, highest: number, skip: number): Pick<Opened, 'nextId' | 'reservedId'> {
  const reserved = integerOf(db.prepare('SELECT reserved_id FROM meta').get()?.reserved_id);
  // A spool that was just made has given out nothing.
  const last = Math.max(highest, reserved) + (reserved === 0 ? 0 : skip);
  db.prepare('UPDATE meta SET reserved_id = ?').run(last + RESERVED_IDS);
  return { nextId: last + 1, reservedId: last + RESERVED_IDS };
}
