/** A message on its way in: in memory while it is small, in its file from then on. */
import type { Bodies } from './bodies.ts';
import { IN_ROW_BYTES } from './bodies.ts';
import type { BodyWriter } from './body-file.ts';
import type { Envelope } from './envelope.ts';
import type { BodyFileInfo } from './rows.ts';
import { type Accepted, type Intake, type NewDelivery, SpoolUnavailable, type Usage } from './spool.ts';
import { CommitInDoubt } from './thread.ts';

/** What a chunk of one byte takes all the same; a client that sends such, each in a TLS record, must not be cheap. */
const LEAST_CHUNK_BYTES = 512;

/**
 * Gives the memory of a chunk back now, where nothing else lies in it. Left to the garbage collector it counts as
 * memory outside of the heap until then, and 32 MiB of that start a full collection: with mail of 100 KiB these took
 * more time than all the rest.
 */
function release(chunk: Buffer): void {
  const { buffer } = chunk;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === chunk.length && chunk.length > 0) buffer.transfer(0);
}

/** Commits a message whose body is in a buffer of its own, or durable in its file. */
export type CommitMessage = (
  body: Uint8Array<ArrayBuffer> | BodyFileInfo,
  envelope: Envelope,
  deliveries: readonly NewDelivery[],
  usage: Usage | undefined,
) => Promise<Accepted>;

export class SpoolIntake implements Intake {
  readonly queueId: string;
  readonly #messageId: number;
  readonly #bodies: Bodies;
  readonly #commitMessage: CommitMessage;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes of memory. */
  #held = 0;
  #writer: BodyWriter | undefined;
  /** Writes to the file, one after the other; undefined while the content is in memory. Never rejects. */
  #writing: Promise<void> | undefined;
  #failure: SpoolUnavailable | undefined;
  #ended = false;

  constructor(queueId: string, messageId: number, bodies: Bodies, commitMessage: CommitMessage) {
    this.queueId = queueId;
    this.#messageId = messageId;
    this.#bodies = bodies;
    this.#commitMessage = commitMessage;
  }

  /** A write that fails is told by commit. */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#ended) throw new Error(`message ${this.queueId} has ended`);
    if (this.#writing) return this.#append(chunk);
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const held = Math.max(chunk.length, LEAST_CHUNK_BYTES);
    this.#held += held;
    const room = this.#bodies.hold(held);
    if (room && this.#held <= IN_ROW_BYTES) return undefined;
    return this.#append(this.#takeChunks());
  }

  async commit(envelope: Envelope, deliveries: readonly NewDelivery[], usage?: Usage): Promise<Accepted> {
    this.#end();
    if (!this.#writing) {
      const body = this.#takeChunks();
      return this.#commitMessage(body, envelope, deliveries, usage);
    }
    await this.#writing;
    try {
      if (this.#failure) throw this.#failure;
      if (!this.#writer) throw new SpoolUnavailable(`message ${this.queueId} has no file`);
      const info = await this.#bodies.finish(this.#writer);
      return await this.#commitMessage(info, envelope, deliveries, usage);
    } catch (error) {
      // A row that may be on disk keeps its body. Where there is none after all, the next opening removes the file.
      if (this.#writer && !(error instanceof CommitInDoubt)) await this.#bodies.discard(this.#writer);
      throw error;
    }
  }

  async abort(): Promise<void> {
    this.#end();
    this.#takeChunks();
    await this.#writing;
    if (this.#writer) await this.#bodies.discard(this.#writer);
  }

  #end(): void {
    if (this.#ended) throw new Error(`message ${this.queueId} has ended`);
    this.#ended = true;
  }

  /** The content so far, in a buffer of its own (Buffer.concat would take part of a shared one for small content). */
  #takeChunks(): Buffer<ArrayBuffer> {
    const content = Buffer.allocUnsafeSlow(this.#bytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      offset += chunk.copy(content, offset);
      release(chunk);
    }
    this.#bodies.hold(-this.#held);
    this.#held = 0;
    this.#chunks = [];
    this.#bytes = 0;
    return content;
  }

  #append(chunk: Buffer): Promise<void> {
    this.#writing = this.#appendAfter(this.#writing, chunk);
    return this.#writing;
  }

  async #appendAfter(before: Promise<void> | undefined, chunk: Buffer): Promise<void> {
    await before;
    if (this.#failure) return;
    try {
      this.#writer ??= await this.#bodies.create(this.#messageId);
      await this.#writer.write(chunk);
      release(chunk);
    } catch (error) {
      this.#failure = this.#bodies.failed(error);
    }
  }
}
