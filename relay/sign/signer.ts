/**
 * DKIM signing: the interface. The body hash is computed while a message is received, by `BodyHash`; the signature is
 * made once, before the first attempt, from header block and body hash alone, so no body is read again.
 */

/** Signs for the domains in force. */
export interface Signer {
  /**
   * DKIM-Signature fields (RFC 6376), one per active key, each ending in CRLF, to be put before the content.
   * @param headers header block of the stored content, blank line included
   * @param bodyHash base64 SHA-256 of the body in relaxed canonical form
   * @throws {NoSigningKey} when the domain is in force, is to be signed and has no active key
   */
  sign(domain: string, headers: Buffer, bodyHash: string, nowMs: number): Promise<Buffer>;
}

/** Mail of this domain cannot be signed now: it is held (451 4.7.5), never sent unsigned. */
export class NoSigningKey extends Error {
  override readonly name = 'NoSigningKey';
}
