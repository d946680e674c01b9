/** Moves between spools (move.ts), by way of the writer thread. */
import type { Bodies } from './bodies.ts';
import type { Envelope } from './envelope.ts';
import { SpoolIntake } from './intake.ts';
import type { Adopted, Marked, Movable, Moves, Moving } from './move.ts';
import { formatQueueId } from './queue-id.ts';
import { parseEnvelope, parseRecipients } from './rows.ts';
import { type Accepted, type Content, SpoolDamage } from './spool.ts';
import { bufferOver, newMessage } from './stored-form.ts';
import type { WriterThread } from './thread.ts';

interface Parts {
  readonly spoolId: string;
  readonly thread: WriterThread;
  readonly bodies: Bodies;
  /** Gives a message id. */
  readonly allocate: () => number;
  readonly now: () => number;
}

export class ThreadMoves implements Moves {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  movable(afterId: number, limit: number): Promise<readonly Movable[]> {
    return this.#parts.thread.request<'movable'>({ kind: 'movable', afterId, limit });
  }

  async mark(messages: readonly Movable[], peer: string): Promise<readonly Marked[]> {
    const nowMs = Math.round(this.#parts.now());
    const { marked } = await this.#parts.thread.request<'mark'>({ kind: 'mark', messages, peer, nowMs });
    return marked;
  }

  marked(afterSequence: number, limit: number): Promise<readonly Marked[]> {
    return this.#parts.thread.request<'marked'>({ kind: 'marked', afterSequence, limit });
  }

  async read(sequence: number): Promise<{ moving: Moving; content: Content } | undefined> {
    const { spoolId, thread, bodies } = this.#parts;
    const row = await thread.request<'move'>({ kind: 'move', sequence });
    if (!row) return undefined;
    const stored = await thread.request<'read'>({ kind: 'read', id: row.message });
    if (!stored) throw new SpoolDamage(`message row ${row.message} moves to another spool and is missing`);
    const envelope = parseEnvelope(row.envelope);
    const { signature, body } = stored;
    const data = body instanceof Uint8Array ? bufferOver(body) : bodies.content(row.message, body);
    const moving = {
      source: spoolId,
      sequence,
      queueId: envelope.queueId ?? formatQueueId(spoolId, row.message),
      envelope,
      ...(signature && { signature: bufferOver(signature) }),
      deliveries: row.deliveries.map(({ recipients, ...rest }) => ({
        ...rest,
        recipients: parseRecipients(recipients),
      })),
    };
    return { moving, content: { signature: moving.signature, data } };
  }

  async finish(sequences: readonly number[]): Promise<void> {
    await this.#parts.thread.request<'finish'>({ kind: 'finish', sequences });
  }

  finishedUpTo(peer: string): Promise<number> {
    return this.#parts.thread.request<'finishedUpTo'>({ kind: 'finishedUpTo', peer });
  }

  async forget(source: string, upTo: number): Promise<void> {
    await this.#parts.thread.request<'forget'>({ kind: 'forget', source, upTo });
  }

  async adopt(moving: Moving, content: AsyncIterable<Buffer>): Promise<Adopted> {
    const { bodies, allocate } = this.#parts;
    const id = allocate();
    // What is no new move is thrown so that the intake takes its file away.
    const intake = new SpoolIntake(moving.queueId, id, bodies, async (body, envelope, deliveries) => {
      const adopted = await this.#adopt(moving, newMessage(id, body, envelope, deliveries));
      if (adopted !== 'new') throw new NotStored(adopted);
      return NOTHING;
    });
    try {
      for await (const chunk of content) await intake.write(chunk);
    } catch (error) {
      await intake.abort();
      throw error;
    }
    try {
      const envelope: Envelope = { ...moving.envelope, queueId: moving.queueId };
      await intake.commit(envelope, moving.deliveries);
      return 'new';
    } catch (error) {
      if (error instanceof NotStored) return error.adopted;
      throw error;
    }
  }

  async #adopt(
    { source, sequence, queueId, signature, deliveries }: Moving,
    message: ReturnType<typeof newMessage>,
  ): Promise<Adopted> {
    const { adopted } = await this.#parts.thread.request<'adopt'>({
      kind: 'adopt',
      ...{ source, sequence, queueId, message, signature },
      deliveries: deliveries.map(({ attempts, due, recipients }) => ({
        attempts,
        due,
        recipients: JSON.stringify(recipients),
      })),
    });
    if (!adopted) throw new Error('the writer did not say what became of a message from another spool');
    return adopted;
  }
}

/** A moved message is found by its due time: nobody takes it from here. */
const NOTHING: Accepted = { queueId: '', content: { signature: undefined, data: Buffer.alloc(0) }, deliveries: [] };

class NotStored extends Error {
  readonly adopted: Adopted;

  constructor(adopted: Adopted) {
    super(`the move is ${adopted}`);
    this.adopted = adopted;
  }
}
