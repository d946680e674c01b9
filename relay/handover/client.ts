/** Asks peers; how they are reached is a matter of the transport. */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { AdoptAnswer, type encode, PeerAnswer } from './protocol.ts';
import { PeerUnreachable, type Transport } from './transport.ts';

/** Without a byte in either direction. A commit on a slow disk is within it. */
const SILENCE_MS = 30_000;
/** For a question that is answered from memory, from the lookup of the name to the last byte. */
const ASK_MS = 5_000;

const answers = {
  peer: Schema.Compile(PeerAnswer),
  adopt: Schema.Compile(AdoptAnswer),
  problem: Schema.Compile(Type.Object({ detail: Type.String() })),
};

export class Peers {
  readonly #transport: Transport;
  readonly #signal: AbortSignal;

  /** @param signal ends what is under way */
  constructor(transport: Transport, signal: AbortSignal) {
    this.#transport = transport;
    this.#signal = signal;
  }

  /** @throws {PeerUnreachable} */
  async ask(ordinal: number): Promise<PeerAnswer> {
    const answer = await this.#request(ordinal, 'GET', '/v1/handover', {});
    if (answers.peer.Check(answer)) {
      if (answer.ordinal === undefined || answer.ordinal === ordinal) return answer;
      // A name may lead for a while to the address that its pod had, which is another's by now.
      throw new PeerUnreachable(`replica ${ordinal} cannot be reached: replica ${answer.ordinal} is in its place`);
    }
    throw new PeerUnreachable(`replica ${ordinal} answers in another form than this version knows`);
  }

  /** @throws {PeerUnreachable} or what reading the message threw */
  async offer(
    ordinal: number,
    spool: string,
    message: ReturnType<typeof encode>,
    onSent: () => void,
  ): Promise<AdoptAnswer['adopted']> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': message.bytes };
    const body = { chunks: message.chunks(), onSent };
    const answer = await this.#request(ordinal, 'POST', `/v1/handover/${spool}`, headers, body);
    if (answers.adopt.Check(answer)) return answer.adopted;
    throw new PeerUnreachable(`replica ${ordinal} answers in another form than this version knows`);
  }

  /** @throws {PeerUnreachable} */
  async forget(ordinal: number, spool: string, source: string, upTo: number): Promise<void> {
    const text = Buffer.from(JSON.stringify({ source, upTo }));
    const headers = { 'content-type': 'application/json', 'content-length': text.length };
    await this.#request(ordinal, 'POST', `/v1/handover/${spool}/forget`, headers, { chunks: Readable.from([text]) });
  }

  close(): void {
    this.#transport.close();
  }

  async #request(
    ordinal: number,
    method: string,
    path: string,
    headers: Record<string, string | number>,
    body?: { readonly chunks: AsyncIterable<Buffer>; readonly onSent?: () => void },
  ): Promise<unknown> {
    const late = method === 'GET' ? AbortSignal.timeout(ASK_MS) : undefined;
    const signal = late ? AbortSignal.any([this.#signal, late]) : this.#signal;
    const unreachable = (error: unknown): PeerUnreachable =>
      new PeerUnreachable(
        `replica ${ordinal} cannot be reached: ${error instanceof Error ? error.message : String(error)}`,
      );
    const begin = await this.#transport.to(ordinal);
    const asking = begin({ timeout: SILENCE_MS, signal, method, path, headers });
    asking.on('timeout', () => asking.destroy(new Error(`silent for ${SILENCE_MS} ms`)));
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      asking.once('response', resolve);
      asking.once('error', reject);
    });
    answered.catch(() => undefined);
    const failing = body ? await sent(asking, body) : void asking.end();
    try {
      const response = await answered;
      const text = (await buffer(response)).toString('utf8');
      if (response.statusCode === 200) return JSON.parse(text);
      throw new Error(`it answers ${response.statusCode} ${reasonOf(text)}`);
    } catch (error) {
      // What broke the body off is the reason: the peer only saw it end.
      if (failing?.ours) throw failing.error;
      throw unreachable(late?.aborted ? new Error(`no answer within ${ASK_MS} ms`) : error);
    }
  }
}

/** In words where it gives them (RFC 9457). */
function reasonOf(text: string): string {
  try {
    const problem: unknown = JSON.parse(text);
    if (answers.problem.Check(problem)) return problem.detail;
  } catch {
    // Then as it is.
  }
  return text.trim();
}

/** Never rejects: the peer may have answered before it had all of it. */
async function sent(
  asking: ClientRequest,
  { chunks, onSent }: { readonly chunks: AsyncIterable<Buffer>; readonly onSent?: () => void },
): Promise<{ readonly ours: boolean; readonly error: unknown } | undefined> {
  let ours: { readonly error: unknown } | undefined;
  const guarded = async function* (): AsyncGenerator<Buffer> {
    try {
      yield* chunks;
    } catch (error) {
      ours = { error };
      throw error;
    }
  };
  try {
    await pipeline(Readable.from(guarded()), asking);
    onSent?.();
    return undefined;
  } catch (error) {
    return { ours: ours !== undefined, error: ours ? ours.error : error };
  }
}
