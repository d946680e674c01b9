/** What policies may know of a session. */
import type { RelayConfig } from '../config/config.ts';
import type { ListenerSettings } from '../config/documents.ts';

export interface SessionFacts {
  readonly listener: ListenerSettings;
  /** An IPv4-mapped address stands here as IPv4. */
  readonly clientAddress: string;
  /** What the client called itself in HELO or EHLO. */
  readonly helo: string;
  readonly secure: boolean;
  /** TLS version and cipher, for the trace. */
  readonly tls?: string;
  /** Set once AUTH succeeded. */
  readonly user?: string;
  /** The network that exempts the client from AUTH. */
  readonly network?: string;
  readonly config: RelayConfig;
  /** This replica is no longer wanted. */
  readonly draining: boolean;
}
