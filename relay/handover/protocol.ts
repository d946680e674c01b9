/**
 * What two replicas say to each other when mail moves from one to the other, over HTTP on the admin API of the peer.
 * What it means for the mail is argued in relay/spool/move.ts.
 *
 *     GET  /v1/handover                    who the peer is, and whether it takes mail that is not marked for it yet
 *     POST /v1/handover/{spool}            a message: a head as JSON, preceded by its length, then the content
 *     POST /v1/handover/{spool}/forget     the source has finished all moves up to a number
 *
 * The path names the spool that is meant. Where another one has taken its place behind the same address, it refuses.
 */
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { Moving } from '../spool/move.ts';
import { parseEnvelope, parseRecipients } from '../spool/rows.ts';
import type { Content } from '../spool/spool.ts';

export const PeerAnswer = Type.Object({
  spool: Type.String(),
  /** It is wanted itself: what is handed to it stays there. */
  takes: Type.Boolean(),
  /** Absent in earlier versions. */
  ordinal: Type.Optional(Type.Integer({ minimum: 0 })),
});
export type PeerAnswer = Type.Static<typeof PeerAnswer>;

export const AdoptAnswer = Type.Object({ adopted: Type.Enum(['new', 'known', 'refused']) });
export type AdoptAnswer = Type.Static<typeof AdoptAnswer>;

export const ForgetBody = Type.Object({ source: Type.String(), upTo: Type.Integer({ minimum: 0 }) });
export type ForgetBody = Type.Static<typeof ForgetBody>;

/** Fields that a later version adds are passed over, but for those of envelope and recipients, which are kept. */
const Head = Schema.Compile(
  Type.Object({
    source: Type.String({ pattern: '^[0-9A-HJKMNP-TV-Z]{8}$' }),
    sequence: Type.Integer({ minimum: 1 }),
    queueId: Type.String({ pattern: '^[0-9A-HJKMNP-TV-Z]{9,19}$' }),
    envelope: Type.Object({}),
    /** Base64. */
    signature: Type.Optional(Type.String()),
    contentBytes: Type.Integer({ minimum: 0 }),
    deliveries: Type.Array(
      Type.Object({
        destination: Type.String(),
        attempts: Type.Integer({ minimum: 0 }),
        due: Type.Integer({ minimum: 0 }),
        recipients: Type.Array(Type.Object({ address: Type.String() }), { minItems: 1 }),
      }),
      { minItems: 1 },
    ),
  }),
);

/** Of the head: recipients are limited in number, their replies in length. */
const LARGEST_HEAD_BYTES = 64 * 1024 * 1024;
const LENGTH_BYTES = 4;

export class BrokenTransfer extends Error {
  override readonly name = 'BrokenTransfer';
}

export function encode(moving: Moving, { data }: Content): { readonly bytes: number; chunks(): AsyncIterable<Buffer> } {
  const contentBytes = Buffer.isBuffer(data) ? data.length : data.sizeBytes;
  const { signature, ...rest } = moving;
  const head = Buffer.from(
    JSON.stringify({ ...rest, contentBytes, ...(signature && { signature: signature.toString('base64') }) }),
  );
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(head.length);
  return {
    bytes: LENGTH_BYTES + head.length + contentBytes,
    async *chunks() {
      yield Buffer.concat([length, head]);
      if (Buffer.isBuffer(data)) yield data;
      else yield* data.open();
    },
  };
}

/**
 * The content that comes back ends with an error where the transfer is shorter or longer than its head says.
 *
 * @throws {BrokenTransfer}
 */
export async function decode(
  chunks: AsyncIterable<Buffer>,
): Promise<{ readonly moving: Moving; readonly content: AsyncIterable<Buffer> }> {
  const reader = new Reader(chunks);
  const headBytes = (await reader.take(LENGTH_BYTES)).readUInt32BE();
  if (headBytes > LARGEST_HEAD_BYTES) throw new BrokenTransfer(`a head of ${headBytes} bytes is too long`);
  const text = (await reader.take(headBytes)).toString('utf8');
  const head = parsed(text);
  if (!Head.Check(head)) throw new BrokenTransfer('a message has another form than this version knows');
  const { source, sequence, queueId, signature, contentBytes } = head;
  const moving: Moving = {
    ...{ source, sequence, queueId },
    envelope: parseEnvelope(JSON.stringify(head.envelope)),
    ...(signature !== undefined && { signature: Buffer.from(signature, 'base64') }),
    deliveries: head.deliveries.map(({ destination, attempts, due, recipients }) => ({
      ...{ destination, attempts, due },
      recipients: parseRecipients(JSON.stringify(recipients)),
    })),
  };
  return { moving, content: reader.rest(contentBytes) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BrokenTransfer('the head of a message is no JSON');
  }
}

class Reader {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async take(bytes: number): Promise<Buffer> {
    const parts = [this.#held];
    let have = this.#held.length;
    while (have < bytes) {
      const { value, done } = await this.#chunks.next();
      if (done) throw new BrokenTransfer('a message broke off in its head');
      parts.push(value);
      have += value.length;
    }
    const all = Buffer.concat(parts);
    this.#held = all.subarray(bytes);
    return all.subarray(0, bytes);
  }

  async *rest(bytes: number): AsyncGenerator<Buffer> {
    let left = bytes - this.#held.length;
    if (this.#held.length > 0) yield this.#held;
    for (;;) {
      const { value, done } = await this.#chunks.next();
      if (done) break;
      left -= value.length;
      yield value;
    }
    if (left !== 0) throw new BrokenTransfer(`a message of ${bytes} bytes came with ${bytes - left}`);
  }
}
