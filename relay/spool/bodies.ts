/** The main thread's way to bodies in files: written and synced here, so that large content never crosses to the writer. */
import { type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BODY_FOLDER, BodyWriter, bodyPath, readBody } from './body-file.ts';
import type { BodyFileInfo } from './rows.ts';
import { type Content, SpoolFull, SpoolUnavailable, type WriteFailure } from './spool.ts';
import { CommitInDoubt } from './thread.ts';

/** Larger content goes to a file: 1 MiB costs 3.8 ms in a row and 0.5 ms in a file, 100 KiB less in a row. */
export const IN_ROW_BYTES = 256 * 1024;
/** Of all intakes together; an intake that would pass it goes to its file early. */
const IN_MEMORY_BYTES = 64 * 1024 * 1024;

/** Tried when no body could be written, until one can. */
const PROBE_FILE = '.probe';
const PROBE_MS = 1_000;

interface BodiesOptions {
  readonly folder: string;
  readonly spoolId: string;
  readonly onFatal: (error: Error) => void;
  /** Told when body files cannot be written, and (undefined) when they can again. */
  readonly onWritable: (failure: WriteFailure | undefined) => void;
}

export class Bodies {
  readonly #folder: string;
  readonly #spoolId: string;
  readonly #folderHandle: FileHandle;
  readonly #onFatal: (error: Error) => void;
  readonly #onWritable: BodiesOptions['onWritable'];
  #probing: NodeJS.Timeout | undefined;
  readonly #open = new Set<BodyWriter>();
  #heldBytes = 0;

  private constructor(options: BodiesOptions, folderHandle: FileHandle) {
    this.#folder = options.folder;
    this.#spoolId = options.spoolId;
    this.#onFatal = options.onFatal;
    this.#onWritable = options.onWritable;
    this.#folderHandle = folderHandle;
  }

  static async open(options: BodiesOptions): Promise<Bodies> {
    return new Bodies(options, await open(path.join(options.folder, BODY_FOLDER)));
  }

  /** Counts content that an intake keeps in memory (negative: lets go of); false when it should go to a file now. */
  hold(bytes: number): boolean {
    this.#heldBytes += bytes;
    return this.#heldBytes <= IN_MEMORY_BYTES;
  }

  /** Ends with finish or discard. */
  async create(messageId: number): Promise<BodyWriter> {
    const writer = await BodyWriter.create(bodyPath(this.#folder, this.#spoolId, messageId));
    this.#open.add(writer);
    return writer;
  }

  /** Removes a body whose message will not be committed, or was refused. */
  async discard(writer: BodyWriter): Promise<void> {
    this.#open.delete(writer);
    await writer.close();
    await writer.remove();
  }

  /**
   * Makes a written body durable: first the file, then the folder that names it.
   *
   * @throws {CommitInDoubt} after a failed fsync; onFatal was called.
   * @throws {SpoolUnavailable} after close.
   */
  async finish(writer: BodyWriter): Promise<BodyFileInfo> {
    if (!this.#open.has(writer)) throw new SpoolUnavailable('the spool is closed');
    let info: BodyFileInfo;
    try {
      info = await writer.sync();
      await this.#folderHandle.sync();
    } catch (error) {
      const fault = new CommitInDoubt(`fsync of a message body failed: ${String(error)}`);
      this.#onFatal(fault);
      throw fault;
    }
    this.#open.delete(writer);
    await writer.close();
    return info;
  }

  /** Writes content that is in memory already. @throws {SpoolUnavailable} */
  async store(messageId: number, content: Buffer): Promise<{ writer: BodyWriter; info: BodyFileInfo }> {
    let writer: BodyWriter | undefined;
    try {
      writer = await this.create(messageId);
      await writer.write(content);
    } catch (error) {
      if (writer) await this.discard(writer);
      throw this.failed(error);
    }
    return { writer, info: await this.finish(writer) };
  }

  /** A body could not be written: no mail is taken until one can. */
  failed(error: unknown): SpoolUnavailable {
    const problem = `cannot write a message body: ${String(error)}`;
    const kind = isOutOfRoom(error) ? 'full' : 'unwritable';
    this.#onWritable({ kind, problem });
    this.#probing ??= setInterval(() => void this.#probe(), PROBE_MS).unref();
    return kind === 'full' ? new SpoolFull(problem) : new SpoolUnavailable(problem);
  }

  async #probe(): Promise<void> {
    const probe = path.join(this.#folder, BODY_FOLDER, PROBE_FILE);
    try {
      await writeFile(probe, Buffer.alloc(IN_ROW_BYTES), { mode: 0o600 });
    } catch {
      return;
    } finally {
      await rm(probe, { force: true }).catch(() => undefined);
    }
    clearInterval(this.#probing);
    this.#probing = undefined;
    this.#onWritable(undefined);
  }

  content(messageId: number, info: BodyFileInfo): Content['data'] {
    const filePath = bodyPath(this.#folder, this.#spoolId, messageId);
    return { sizeBytes: info.sizeBytes, open: () => readBody(filePath, info) };
  }

  /** Drops the bodies of messages that were neither committed nor aborted. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((writer) => this.discard(writer)));
    clearInterval(this.#probing);
    await this.#folderHandle.close();
  }
}

function isOutOfRoom(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}
