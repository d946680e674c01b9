/**
 * damage.json beside the database: what was found wrong with the queue. As long as it is there no mail is taken, so
 * that nobody mistakes a queue that lost something for a whole one; `chasqui spool recover` removes it.
 */
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { syncFolder } from './folder.ts';

export const DAMAGE_FILE = 'damage.json';

export interface DamageMark {
  readonly problem: string;
  /** The structure of the database is to be checked before anything else is done with it. */
  readonly check: boolean;
}

/** What stands there; a mark that cannot be read marks all the same. */
export function readMark(folder: string): DamageMark | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path.join(folder, DAMAGE_FILE), 'utf8'));
    if (typeof value === 'object' && value !== null && 'problem' in value && typeof value.problem === 'string') {
      return { problem: value.problem, check: 'check' in value && value.check === true };
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  }
  return { problem: `${DAMAGE_FILE} is unreadable`, check: true };
}

/** Durable when this returns. */
export function writeMark(folder: string, mark: DamageMark): void {
  const descriptor = openSync(path.join(folder, DAMAGE_FILE), 'w', 0o600);
  try {
    writeSync(descriptor, `${JSON.stringify(mark)}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  syncFolder(folder);
}

export function removeMark(folder: string): void {
  rmSync(path.join(folder, DAMAGE_FILE), { force: true });
  syncFolder(folder);
}
