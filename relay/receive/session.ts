/** What policies may know of a session. */
import type { RelayConfig } from '../config/config.ts';
import type { ListenerSettings } from '../config/documents.ts';

export interface SessionFacts {
  readonly listener: ListenerSettings;
  /** An IPv4-mapped address stands here as IPv4. */
  readonly clientAddress: string;
  /** false: it is a proxy's, and whom that speaks for is unknown. Then it gives nobody any right. */
  readonly isClientKnown: boolean;
  /** What the client called itself in HELO or EHLO; '' before it did. */
  readonly helo: string;
  /** EHLO, not HELO. */
  readonly extended: boolean;
  readonly secure: boolean;
  /** TLS version and cipher, for the trace. */
  readonly tls?: string;
  /** Set once AUTH succeeded. */
  readonly user?: string;
  /** The network that exempts the client from AUTH. */
  readonly network?: string;
  readonly config: RelayConfig;
  /** Why this session does not go on: the replica is no longer wanted, it stops, or the session has lasted too long. */
  readonly leaving?: 'draining' | 'stopping' | 'expired';
}
