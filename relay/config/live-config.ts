/**
 * Keeps the config in force up to date with its folder.
 *
 * A new version replaces the old one as a whole, only when all of it is there and right. The last good version is kept
 * beside the spool, so that a relay that restarts while its folder is broken or gone goes on as before.
 */
import { type FSWatcher, watch } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Observer } from '../observe/events.ts';
import type { ConfigSource, RelayConfig } from './config.ts';
import { INDEX } from './documents.ts';
import { buildConfig, ConfigError, hashOf, readDocuments } from './read-folder.ts';

/** Watches can be lost (a replaced mount, a network file system): the folder is looked at this often in any case. */
const POLL_MS = 2_000;
/** Events of one change come in bursts; one look serves them all. */
const SETTLE_MS = 20;

/** A folder that is just being written is whole a moment later; one that is wrong stays so. */
const FIRST_WAIT_MS = 3_000;
const FIRST_LOOK_MS = 50;
/** A folder that is wrong is looked at again this often within that moment, and only then it is told. */
const DOUBTFUL_LOOKS = 4;

const LAST_GOOD = 'config';

export interface LiveConfig extends ConfigSource {
  /** Why what the folder holds is not in force; undefined: it is, or it is about to be. */
  readonly problem: string | undefined;
  /** Since when the config in force is, milliseconds since 1970. */
  readonly sinceMs: number;
  close(): void;
}

/**
 * Reads the config, waits for a first good one, and watches from then on.
 *
 * @param folder config folder
 * @param keepIn folder in which the last good version is kept
 * @throws {ConfigError} when for some seconds there is neither a good version nor a last good one
 */
export async function openConfig(folder: string, keepIn: string, observer: Pick<Observer, 'log'>): Promise<LiveConfig> {
  const listeners = new Set<(config: RelayConfig) => void>();
  const kept = join(keepIn, LAST_GOOD);
  let inForce = await first(folder, kept, observer);
  let sinceMs = Date.now();
  let problem: string | undefined;
  /** Looks in a row that found no config. */
  let failures = 0;
  /** Something changed during a look. */
  let changed = false;
  let timer: NodeJS.Timeout | undefined;
  let reading = false;
  let watcher: FSWatcher | undefined;
  let closed = false;

  async function look(): Promise<void> {
    if (closed) return;
    if (reading) {
      changed = true;
      return;
    }
    reading = true;
    changed = false;
    try {
      await take();
      failures = 0;
      problem = undefined;
    } catch (error) {
      failures += 1;
      if (!isDoubtful()) complain(error instanceof Error ? error.message : String(error));
    } finally {
      reading = false;
      if (changed) schedule(SETTLE_MS);
      else schedule(isDoubtful() ? FIRST_LOOK_MS : POLL_MS);
    }
  }

  const isDoubtful = (): boolean => failures > 0 && failures <= DOUBTFUL_LOOKS;

  async function take(): Promise<void> {
    const documents = await readDocuments(folder);
    if (hashOf(documents) === inForce.hash) return;
    const config = buildConfig(documents);
    await keepOrSay(kept, documents, observer);
    inForce = config;
    sinceMs = Date.now();
    observer.log('info', 'config in force', { hash: config.hash, rejected: config.rejected });
    for (const listener of listeners) listener(config);
  }

  /** Once, not at each look. */
  function complain(complaint: string): void {
    if (complaint !== problem) observer.log('warn', 'config not taken, the one in force stays', { problem: complaint });
    problem = complaint;
  }

  function schedule(delayMs: number): void {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => void look(), delayMs);
    timer.unref();
  }

  try {
    watcher = watch(folder, () => schedule(SETTLE_MS));
    watcher.on('error', () => watcher?.close());
    watcher.unref();
  } catch {
    // The poll alone finds changes then.
  }
  schedule(POLL_MS);

  return {
    current: () => inForce,
    get problem() {
      return problem;
    },
    get sinceMs() {
      return sinceMs;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}

async function first(folder: string, kept: string, observer: Pick<Observer, 'log'>): Promise<RelayConfig> {
  for (const endMs = performance.now() + FIRST_WAIT_MS; ; await pause(FIRST_LOOK_MS)) {
    try {
      const documents = await readDocuments(folder);
      const config = buildConfig(documents);
      await keepOrSay(kept, documents, observer);
      return config;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const lastGood = await readKept(kept);
      if (lastGood) {
        observer.log('warn', 'config folder not taken, going on with the last good one', { problem: error.message });
        return lastGood;
      }
      if (performance.now() >= endMs) throw error;
    }
  }
}

async function readKept(kept: string): Promise<RelayConfig | undefined> {
  try {
    return buildConfig(await readDocuments(kept));
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** A disk that is full or fails keeps no config from being in force: a start without its folder would find an older one. */
async function keepOrSay(
  kept: string,
  documents: ReadonlyMap<string, string>,
  observer: Pick<Observer, 'log'>,
): Promise<void> {
  try {
    await keep(kept, documents);
  } catch (error) {
    observer.log('warn', 'config is in force, but cannot be kept for a start without its folder', {
      problem: String(error),
    });
  }
}

/** Documents first, index last: the kept copy is judged by its hashes too, so a kill in between is noticed. */
async function keep(kept: string, documents: ReadonlyMap<string, string>): Promise<void> {
  await mkdir(kept, { recursive: true, mode: 0o700 });
  const names = [...documents.keys()].filter((name) => name !== INDEX);
  for (const name of [...names, INDEX]) {
    const temporary = join(kept, `.${name}.new`);
    await using file = await open(temporary, 'w', 0o600);
    await file.writeFile(documents.get(name) ?? '');
    await file.sync();
    await rename(temporary, join(kept, name));
  }
  for (const name of await readdir(kept)) {
    if (!documents.has(name)) await rm(join(kept, name), { force: true });
  }
}
