/**
 * Bodies too large for a row: one file each, named by queue id, in the folder `bodies` beside the database. A file is
 * complete and synced, its folder too, before the row that names it is committed; a row's removal is committed before
 * its file is unlinked. So a crash leaves files without rows, which the next opening removes, and never the reverse.
 */
import { readdirSync, unlinkSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { formatQueueId, parseQueueId } from './queue-id.ts';
import type { BodyFileInfo } from './rows.ts';
import { SpoolDamage } from './spool.ts';

export const BODY_FOLDER = 'bodies';
const READ_BYTES = 256 * 1024;

export function bodyPath(folder: string, spoolId: string, messageId: number): string {
  return path.join(folder, BODY_FOLDER, formatQueueId(spoolId, messageId));
}

/** Writes one body. Errors of write and finish are those of the file system. */
export class BodyWriter {
  readonly #path: string;
  readonly #handle: FileHandle;
  #sizeBytes = 0;
  #crc = 0;

  private constructor(filePath: string, handle: FileHandle) {
    this.#path = filePath;
    this.#handle = handle;
  }

  static async create(filePath: string): Promise<BodyWriter> {
    return new BodyWriter(filePath, await open(filePath, 'wx', 0o600));
  }

  async write(chunk: Buffer): Promise<void> {
    await this.#handle.appendFile(chunk);
    this.#sizeBytes += chunk.length;
    this.#crc = crc32(chunk, this.#crc);
  }

  /** Makes the content durable. Its folder entry is the caller's to sync. */
  async sync(): Promise<BodyFileInfo> {
    await this.#handle.datasync();
    return { sizeBytes: this.#sizeBytes, crc: this.#crc };
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

/**
 * The content of a body file in chunks of at most 256 KiB. The last chunk is held back until the crc over all of them is
 * known, so nobody takes a damaged body for a whole one.
 *
 * @throws {SpoolDamage} when the file is missing, has another size, or does not match its crc.
 */
export async function* readBody(filePath: string, info: BodyFileInfo): AsyncGenerator<Buffer, void, undefined> {
  const handle = await openBody(filePath);
  try {
    let sizeBytes = 0;
    let crc = 0;
    let held: Buffer | undefined;
    for (;;) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafeSlow(READ_BYTES), 0, READ_BYTES);
      if (bytesRead === 0) break;
      if (held) yield held;
      held = buffer.subarray(0, bytesRead);
      sizeBytes += bytesRead;
      crc = crc32(held, crc);
    }
    if (sizeBytes !== info.sizeBytes || crc !== info.crc) {
      throw new SpoolDamage(`body file ${filePath} does not match its crc`);
    }
    if (held) yield held;
  } finally {
    await handle.close();
  }
}

async function openBody(filePath: string): Promise<FileHandle> {
  try {
    return await open(filePath, 'r');
  } catch (error) {
    if (isMissing(error)) throw new SpoolDamage(`body file ${filePath} is missing`);
    throw error;
  }
}

/** Removes the file of a message whose removal is committed. */
export function removeBody(folder: string, spoolId: string, messageId: number): void {
  try {
    unlinkSync(bodyPath(folder, spoolId, messageId));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Removes files that no row names, and returns their names. What is not named like a body of this spool stays. */
export function removeOrphans(folder: string, spoolId: string, hasRow: (messageId: number) => boolean): string[] {
  return readdirSync(path.join(folder, BODY_FOLDER)).filter((name) => {
    const messageId = parseQueueId(spoolId, name);
    if (messageId === undefined || hasRow(messageId)) return false;
    unlinkSync(path.join(folder, BODY_FOLDER, name));
    return true;
  });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
