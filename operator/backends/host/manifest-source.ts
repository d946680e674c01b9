/** Brings the objects in force to what the manifests say: reads, admits, deletes, and tells what is wrong. */
import path from 'node:path';
import { type Admission, admit, type ManifestProblem, problemText, SETTLE_MS } from './admission.ts';
import { deletable, STILL_MS } from './deletion.ts';
import { replaceDurably } from './durable-file.ts';
import type { Log } from './log.ts';
import { type FolderReading, readFolder, refText } from './manifests.ts';
import type { ObjectStore } from './store.ts';

export interface ManifestSourceOptions {
  /** The folder of manifests, absolute. */
  readonly folder: string;
  /** DIR */
  readonly state: string;
  readonly allowEmpty: boolean;
  readonly store: ObjectStore;
  readonly log: Log;
  /** Milliseconds, on a clock that does not jump. */
  readonly monotonicMs: () => number;
}

export class ManifestSource {
  readonly #options: ManifestSourceOptions;
  #readings: readonly FolderReading[] = [];
  #told = new Set<string>();
  #problems: string | undefined;

  constructor(options: ManifestSourceOptions) {
    this.#options = options;
  }

  /**
   * Reads the folder once and acts on what may be acted on by now.
   * @returns milliseconds after which something may be acted on that is not yet; undefined when nothing waits
   */
  async look(): Promise<number | undefined> {
    const { folder, store, allowEmpty, monotonicMs } = this.#options;
    const reading = await readFolder(folder, monotonicMs(), this.#readings.at(-1));
    this.#readings = recent([...this.#readings, reading]);
    const admission = admit(store.inForce(), this.#readings);
    this.#accept(admission);
    this.#refuse(admission);
    const missing = this.#missing(reading, admission);
    const gone = deletable(missing, this.#readings, allowEmpty);
    for (const id of gone) {
      this.#options.log.info({ object: id }, 'deleted: it is no longer in the manifests');
      store.delete(id);
    }
    this.#tellProblems(reading, admission);
    if (admission.unsettled) return SETTLE_MS;
    return missing.length > gone.length ? STILL_MS : undefined;
  }

  #accept({ accepted }: Admission): void {
    const { store, log } = this.#options;
    for (const entry of accepted) {
      const { kind, metadata } = entry.manifest;
      const what = store.accept(entry);
      if (what !== 'created' && what !== 'changed') continue;
      const { namespace, name } = metadata;
      log.info({ kind, namespace, name, file: entry.file }, `manifest ${what}`);
    }
  }

  #refuse({ refused }: Admission): void {
    for (const [id, problems] of refused) this.#options.store.refuse(id, problems.map(problemText).join('; '));
  }

  /** Objects in force that the latest reading lacks. */
  #missing(reading: FolderReading, { undecided }: Admission): readonly { id: string; file: string }[] {
    const found = new Set([...reading.files.values()].flatMap(({ objects }) => objects.map(({ ref }) => refText(ref))));
    return this.#options.store
      .inForce()
      .map(({ ref, file }) => ({ id: refText(ref), file }))
      .filter(({ id }) => !found.has(id) && !undecided.has(id));
  }

  #tellProblems(reading: FolderReading, { refused, files, undecided }: Admission): void {
    const { store, log, state, folder } = this.#options;
    const ofFolder = reading.present
      ? []
      : [{ file: folder, message: 'there is no such folder; what was accepted stays' }];
    const all: readonly ManifestProblem[] = [...ofFolder, ...files, ...[...refused.values()].flat()];
    const told = new Set(all.map((problem) => JSON.stringify(problem)));
    for (const problem of all) {
      if (this.#told.has(JSON.stringify(problem))) continue;
      const { message: _, ...where } = problem;
      log.warn(where, problemText(problem));
    }
    if (this.#told.size > 0 && told.size === 0 && undecided.size === 0) log.info({}, 'all manifests are right again');
    this.#told = told;

    // A problem of an object in force stands in its conditions.
    const elsewhere = all.filter(({ object }) => object === undefined || !store.has(object));
    const content = `${JSON.stringify(elsewhere, undefined, 2)}\n`;
    if (content === this.#problems) return;
    replaceDurably(path.join(state, 'problems.json'), content);
    this.#problems = content;
  }
}

/** The readings that a decision may still look at: the latest that is old enough, and those since. */
function recent(readings: readonly FolderReading[]): readonly FolderReading[] {
  const latestMs = readings.at(-1)?.atMs ?? 0;
  const oldest = readings.findLastIndex(({ atMs }) => latestMs - atMs >= STILL_MS);
  return readings.slice(Math.max(oldest, 0));
}
