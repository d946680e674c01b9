/** A file system of its own, small enough to be filled: a tmpfs, for which a test needs to be root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why the tests that need one are skipped; never where CI is set. */
export const noSmallDisk = (): string | false =>
  process.env.CI || process.getuid?.() === 0 ? false : 'only root may mount a tmpfs';

export class SmallDisk implements Disposable {
  readonly path: string;

  constructor(mebibytes: number) {
    this.path = mkdtempSync(join(tmpdir(), 'disk-'));
    run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=700`, 'tmpfs', this.path);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** As another program would that writes until there is no byte left. */
  fill(name = 'other'): void {
    const descriptor = openSync(join(this.path, name), 'a');
    for (let bytes = 1024 * 1024; bytes >= 1; ) {
      try {
        if (writeSync(descriptor, Buffer.alloc(bytes, 1)) < bytes) bytes = Math.ceil(bytes / 2);
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'ENOSPC', String(error));
        bytes = Math.floor(bytes / 2);
      }
    }
    closeSync(descriptor);
    assert.equal(this.freeBytes, 0);
  }

  empty(name = 'other'): void {
    rmSync(join(this.path, name));
  }

  remount(option: 'ro' | 'rw'): void {
    run('mount', '-o', `remount,${option}`, this.path);
  }

  [Symbol.dispose](): void {
    // Whoever has it open still loses nothing but this.
    run('umount', '-l', this.path);
    rmdirSync(this.path);
  }
}

function run(command: string, ...words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8', timeout: 30_000 });
  assert.equal(status, 0, `${command} ${words.join(' ')}: ${stderr} ${error ?? ''}`);
}
