/** How a connection to a next hop is secured. */
import type { SmarthostSettings } from '../config/documents.ts';

export type TlsMode = SmarthostSettings['tls'];

export interface TlsPlan {
  readonly starttls: 'never' | 'if offered' | 'always';
  /** The certificate must be valid for the host's name and come from a trusted CA. */
  readonly verify: boolean;
}

const CLEAR: TlsPlan = { starttls: 'never', verify: false };

const PLANS: Readonly<Record<TlsMode, readonly [TlsPlan, ...TlsPlan[]]>> = {
  Disabled: [CLEAR],
  // RFC 7435: unauthenticated encryption beats clear text, so any certificate will do; and where TLS fails the mail
  // still goes, over a new connection, since RFC 3207 leaves nothing usable of one whose handshake broke.
  Opportunistic: [{ starttls: 'if offered', verify: false }, CLEAR],
  Required: [{ starttls: 'always', verify: false }],
  Verified: [{ starttls: 'always', verify: true }],
};

/** Plans in the order in which they are tried, each after TLS failed with the one before. */
export const tlsPlans = (mode: TlsMode): readonly [TlsPlan, ...TlsPlan[]] => PLANS[mode];

/** Opportunistic TLS is what may be done to an MX without a policy of its domain (MTA-STS, DANE). */
export const MX_TLS: TlsMode = 'Opportunistic';
