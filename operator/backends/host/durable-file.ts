/**
 * Files that survive a crash at any moment: each is the old version or the new one, whole, and once a function here
 * has returned the new one is on disk. All synchronous: what they write is small, and nothing of this process can
 * come between two steps.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Makes the folder and those above it, for the owner alone (0700). */
export function makeFolder(folder: string): void {
  const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
  // The entry of each new folder is data of the folder above it.
  for (let made = folder; first !== undefined && made.length >= first.length; made = path.dirname(made)) {
    syncFolder(path.dirname(made));
  }
}

/** Makes renames and removals in the folder durable. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Writes a file (0600) and its content to disk; its entry in the folder needs a syncFolder. */
export function writeSynced(file: string, content: string): void {
  const descriptor = openSync(file, 'w', 0o600);
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Replaces a file in one step. Readers see the old content or the new; the folder still needs a syncFolder. */
export function replaceFile(file: string, content: string): void {
  const next = path.join(path.dirname(file), `.${path.basename(file)}.next`);
  writeSynced(next, content);
  renameSync(next, file);
}

/** Replaces a file, durably. */
export function replaceDurably(file: string, content: string): void {
  replaceFile(file, content);
  syncFolder(path.dirname(file));
}

/** The content of a file; undefined where there is none. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** What a JSON file says, still to be checked; undefined where there is none or it is no JSON. */
export function readJson(file: string): unknown {
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
