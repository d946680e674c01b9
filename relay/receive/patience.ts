/**
 * How long a client is waited for. A command has to come in whole: bytes that drip in one by one gain no time. Content
 * may take as long as it comes at a pace; the pace is Postfix's (smtpd_min_data_rate).
 */
const MS_OF_A_BYTE = 2;

export class Patience {
  readonly #limitMs: number;
  #endsMs: number;

  /** @param nowMs of a clock that never jumps */
  constructor(limitMs: number, nowMs: number) {
    this.#limitMs = limitMs;
    this.#endsMs = nowMs + limitMs;
  }

  /** The client has done its part, or we have taken our time: it begins anew, with less of it where that is said. */
  renew(nowMs: number, limitMs = this.#limitMs): void {
    this.#endsMs = nowMs + Math.min(limitMs, this.#limitMs);
  }

  /** So many bytes of content have come. */
  prolong(bytes: number, nowMs: number): void {
    this.#endsMs = Math.min(this.#endsMs + bytes * MS_OF_A_BYTE, nowMs + this.#limitMs);
  }

  /** Negative where it is over. */
  leftMs(nowMs: number): number {
    return this.#endsMs - nowMs;
  }

  /** How much of it the client has used up. */
  waitedMs(nowMs: number): number {
    return this.#limitMs - this.leftMs(nowMs);
  }
}
