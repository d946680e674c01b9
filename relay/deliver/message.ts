/**
 * A message in hand: its content, and its signature, made once. All deliveries of the message that are in hand share
 * it, so that every recipient is sent the same bytes.
 */
import type { Signer } from '../sign/signer.ts';
import type { Envelope } from '../spool/envelope.ts';
import { type Content, type Spool, SpoolDamage } from '../spool/spool.ts';

/** The message as it goes out. */
export interface Outgoing {
  readonly sizeBytes: number;
  /** With CRLF line ends, dots not stuffed; read anew for each transaction. */
  readonly content: Buffer | (() => AsyncIterable<Buffer>);
}

export interface MessageContext {
  readonly spool: Pick<Spool, 'read'>;
  readonly signer: Signer;
  /** Told each time a message was signed. */
  readonly signed: (queueId: string, domain: string, signature: Buffer) => void;
}

export class Message {
  readonly queueId: string;
  readonly envelope: Envelope;
  /** A signature made here; it is stored when a delivery is deferred (spool: Outcome.signature). */
  newSignature: Buffer | undefined;
  readonly #spool: Pick<Spool, 'read'>;
  readonly #signer: Signer;
  readonly #signed: MessageContext['signed'];
  #content: Content | Promise<Content> | undefined;
  #signing: Promise<Buffer> | undefined;

  /** @param content absent: it is read from the spool when it is needed */
  constructor(
    { queueId, envelope, content }: { queueId: string; envelope: Envelope; content?: Content },
    { spool, signer, signed }: MessageContext,
  ) {
    this.queueId = queueId;
    this.envelope = envelope;
    this.#content = content;
    this.#spool = spool;
    this.#signer = signer;
    this.#signed = signed;
  }

  /**
   * @throws {NoSigningKey}
   * @throws {SpoolDamage}
   */
  async outgoing(): Promise<Outgoing> {
    const { data } = await this.#read();
    const signature = await this.#signature();
    if (Buffer.isBuffer(data)) {
      const content = signature ? Buffer.concat([signature, data]) : data;
      return { sizeBytes: content.length, content };
    }
    return {
      sizeBytes: data.sizeBytes + (signature?.length ?? 0),
      content: async function* () {
        if (signature) yield signature;
        yield* data.open();
      },
    };
  }

  /** Header block of the stored content, blank line included. */
  async headers(): Promise<Buffer> {
    const { data } = await this.#read();
    const { headerBytes } = this.envelope;
    if (Buffer.isBuffer(data)) return data.subarray(0, headerBytes);
    const parts: Buffer[] = [];
    let missing = headerBytes;
    for await (const chunk of data.open()) {
      parts.push(chunk.subarray(0, missing));
      missing -= chunk.length;
      if (missing <= 0) break;
    }
    return Buffer.concat(parts);
  }

  /** The stored content where it is small enough to be in memory. */
  async inMemory(): Promise<Buffer | undefined> {
    const { data } = await this.#read();
    return Buffer.isBuffer(data) ? data : undefined;
  }

  async #read(): Promise<Content> {
    this.#content ??= this.#spool.read(this.queueId).catch((error: unknown) => {
      this.#content = undefined;
      throw error;
    });
    return this.#content;
  }

  async #signature(): Promise<Buffer | undefined> {
    const { signature } = await this.#read();
    if (signature || !this.envelope.signAs) return signature;
    this.#signing ??= this.#sign(this.envelope.signAs).catch((error: unknown) => {
      this.#signing = undefined;
      throw error;
    });
    return this.#signing;
  }

  /**
   * Signed as of arrival: what another delivery of this message signs again, after this one is over and before any was
   * deferred, comes out the same (RSA PKCS #1 v1.5 and Ed25519 have no randomness).
   */
  async #sign(domain: string): Promise<Buffer> {
    const { bodyHash, arrivedMs } = this.envelope;
    if (bodyHash === undefined) throw new SpoolDamage(`message ${this.queueId} is to be signed and has no body hash`);
    const signature = await this.#signer.sign(domain, await this.headers(), bodyHash, arrivedMs);
    this.newSignature = signature;
    this.#signed(this.queueId, domain, signature);
    return signature;
  }
}

/** Selectors named by DKIM-Signature fields (RFC 6376 3.5, s=). */
export const selectorsOf = (signature: Buffer): readonly string[] =>
  [...signature.toString('latin1').matchAll(/[;:\s]s=\s*([^;\s]+)/g)].flatMap(([, selector]) => selector ?? []);
