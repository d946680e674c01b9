/**
 * Room that is kept for recording. On a full disk a DELETE fails like any other change, since it too is written to the
 * WAL first; an outcome that cannot be recorded is an arrival twice after the next kill. So a file of this size stands
 * beside the database and is given up when the disk has no more room.
 */
import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';

const RESERVE_FILE = 'reserve';
/**
 * All that the database may grow by before the WAL begins anew at its start: a WAL that waits for its checkpoint
 * (16 MiB) and one group more (16 MiB of content with its pages). From then on the WAL is overwritten in place.
 */
export const RESERVE_BYTES = 40 * 1024 * 1024;
const CHUNK = Buffer.alloc(1024 * 1024, 'chasqui keeps this room to record what became of mail. ');

export class Reserve {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = path.join(folder, RESERVE_FILE);
  }

  get isKept(): boolean {
    return existsSync(this.#path);
  }

  /** Where there is room to spare. Never throws: without it the queue works as well, until the disk is full. */
  keep(freeBytes: number): void {
    if (freeBytes >= 2 * RESERVE_BYTES && !this.isKept && this.#fill() < RESERVE_BYTES) this.giveUp();
  }

  /** However little there is: at the end of a process the WAL goes, and the next one needs room for its own. */
  keepWhatIsLeft(): void {
    if (!this.isKept) this.#fill();
  }

  /** Bytes that were kept. */
  #fill(): number {
    let kept = 0;
    try {
      const descriptor = openSync(this.#path, 'wx', 0o600);
      try {
        // Written, not only made that long: a hole keeps no room.
        while (kept < RESERVE_BYTES) kept += writeSync(descriptor, CHUNK);
      } finally {
        closeSync(descriptor);
      }
    } catch {
      // The disk has no more.
    }
    return kept;
  }

  /** Whether there was something to give up. */
  giveUp(): boolean {
    const had = this.isKept;
    try {
      rmSync(this.#path, { force: true });
    } catch {
      return false;
    }
    return had;
  }
}
