/** What a server offers, by its reply to EHLO (RFC 5321 4.1.1.1). */
export interface Capabilities {
  /** RFC 2920. */
  readonly pipelining: boolean;
  /** RFC 3207. */
  readonly starttls: boolean;
  /** RFC 6531. */
  readonly smtputf8: boolean;
  /** RFC 6152. */
  readonly eightBitMime: boolean;
  /** RFC 3461. */
  readonly dsn: boolean;
  /** RFC 1870; maxBytes is absent where the server names no limit. */
  readonly size: { readonly maxBytes?: number } | undefined;
  /** Mechanisms, in upper case (RFC 4954). */
  readonly auth: readonly string[];
}

/** @param reply lines apart by LF; of HELO, it has no keywords */
export function capabilitiesOf(reply: string): Capabilities {
  const keywords = new Map<string, string>();
  // The first line is the greeting: the server's name and whatever it likes to say.
  for (const line of reply.split('\n').slice(1)) {
    const [, keyword, argument] = /^250[ -](\S+)\s*(.*)$/.exec(line) ?? [];
    if (keyword) keywords.set(keyword.toUpperCase(), argument ?? '');
  }
  const size = keywords.get('SIZE');
  // RFC 1870 6.1: no number, or 0, is no fixed limit.
  const maxBytes = Number(/^\d{1,15}$/.exec(size ?? '')?.[0] ?? 0);
  return {
    pipelining: keywords.has('PIPELINING'),
    starttls: keywords.has('STARTTLS'),
    smtputf8: keywords.has('SMTPUTF8'),
    eightBitMime: keywords.has('8BITMIME'),
    dsn: keywords.has('DSN'),
    auth: (keywords.get('AUTH') ?? '')
      .toUpperCase()
      .split(/\s+/)
      .filter((mechanism) => mechanism !== ''),
    size: size === undefined ? undefined : maxBytes > 0 ? { maxBytes } : {},
  };
}
