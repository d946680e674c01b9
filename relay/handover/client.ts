/** Asks peers. How one is reached is a parameter: a unix socket here, TLS and a token elsewhere. */
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import Schema from 'typebox/schema';
import type { ConfigSource } from '../config/config.ts';
import { AdoptAnswer, type encode, PeerAnswer } from './protocol.ts';

/** How the replica of an ordinal is reached; undefined when the config does not tell. */
export type Transport = (ordinal: number) => RequestOptions | undefined;

/** Of replicas on one machine: by the sockets that the config names. */
export const bySockets =
  (config: Pick<ConfigSource, 'current'>): Transport =>
  (ordinal) => {
    const socket = config.current().peers?.socket;
    return socket === undefined ? undefined : { socketPath: socket.replace('{ordinal}', String(ordinal)) };
  };

/** It did not answer, or not as it should: what it was asked to do may have been done. */
export class PeerUnreachable extends Error {
  override readonly name = 'PeerUnreachable';
}

/** Without a byte in either direction. A commit on a slow disk is within it. */
const SILENCE_MS = 30_000;
/** For a question that is answered from memory. */
const ASK_MS = 5_000;
const CONNECTIONS = 8;

const answers = { peer: Schema.Compile(PeerAnswer), adopt: Schema.Compile(AdoptAnswer) };

export class Peers {
  readonly #transport: Transport;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #signal: AbortSignal;

  /** @param signal ends what is under way */
  constructor(transport: Transport, signal: AbortSignal) {
    this.#transport = transport;
    this.#signal = signal;
  }

  /** @throws {PeerUnreachable} */
  async ask(ordinal: number): Promise<PeerAnswer> {
    const answer = await this.#request(ordinal, 'GET', '/v1/handover', {});
    if (answers.peer.Check(answer)) return answer;
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
    this.#agent.destroy();
  }

  async #request(
    ordinal: number,
    method: string,
    path: string,
    headers: Record<string, string | number>,
    body?: { readonly chunks: AsyncIterable<Buffer>; readonly onSent?: () => void },
  ): Promise<unknown> {
    const where = this.#transport(ordinal);
    const timeout = method === 'GET' ? ASK_MS : SILENCE_MS;
    if (!where) throw new PeerUnreachable('the config names no peers');
    const unreachable = (error: unknown): PeerUnreachable =>
      new PeerUnreachable(
        `replica ${ordinal} cannot be reached: ${error instanceof Error ? error.message : String(error)}`,
      );
    const asking = request({
      ...{ agent: this.#agent, timeout, signal: this.#signal, method, path, headers },
      ...where,
    });
    asking.on('timeout', () => asking.destroy(new Error(`silent for ${timeout} ms`)));
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
      throw new Error(`it answers ${response.statusCode} ${text.trim()}`);
    } catch (error) {
      // What broke the body off is the reason: the peer only saw it end.
      if (failing?.ours) throw failing.error;
      throw unreachable(error);
    }
  }
}

/** Never rejects: the peer may have answered before it had all of it. */
async function sent(
  asking: ReturnType<typeof request>,
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
