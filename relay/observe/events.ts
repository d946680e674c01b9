/** What happens to messages and sessions, told once: the log writes a line of it, the metrics count it. */
import type { Envelope, Reply } from '../spool/envelope.ts';

export type MessageEvent =
  | {
      readonly event: 'received';
      readonly queueId: string;
      readonly envelope: Envelope;
      readonly recipients: readonly string[];
    }
  | {
      readonly event: 'signed';
      readonly queueId: string;
      readonly domain: string;
      readonly selectors: readonly string[];
    }
  | {
      /** Handed over: another replica has it, under the same id. */
      readonly event: 'moved';
      readonly queueId: string;
      /** Ordinal. */
      readonly peer: number;
      readonly spool: string;
    }
  | {
      readonly event: 'delivered' | 'deferred' | 'bounced' | 'expired';
      readonly queueId: string;
      readonly recipient: string;
      readonly destination: string;
      readonly reply: Reply;
      readonly attempts: number;
      /** From arrival to this outcome. */
      readonly ageMs: number;
      /** deferred: when it is tried again. */
      readonly nextMs?: number;
      /** bounced, expired: queue id of the DSN that was committed with it. */
      readonly dsn?: string;
      /** bounced: by whom, where no server refused it but a person gave it up. */
      readonly by?: string;
    }
  | {
      /** What a person did by the admin API; of what was returned, its recipients are told as bounced too. */
      readonly event: 'held' | 'released' | 'hurried' | 'recalled' | 'returned' | 'removed';
      readonly queueId: string;
      readonly recipients: readonly string[];
      /** Who: the socket, or the role of a token. */
      readonly by: string;
      /** returned: queue id of the notice to its sender; absent where none was due. */
      readonly dsn?: string;
    };

export type SessionEvent =
  | { readonly event: 'session'; readonly listener: string }
  /** The handshake is over; version as OpenSSL names it: TLSv1.3. */
  | { readonly event: 'secured'; readonly listener: string; readonly version: string }
  | {
      readonly event: 'auth';
      readonly listener: string;
      readonly mechanism: string;
      readonly result: 'accepted' | 'rejected';
    }
  | {
      readonly event: 'rejected';
      readonly listener: string;
      readonly stage: 'connect' | 'command' | 'auth' | 'mail' | 'rcpt' | 'data';
      readonly reason: string;
      readonly reply: string;
      readonly client: string;
      readonly user?: string;
      readonly mailFrom?: string;
      readonly recipient?: string;
    };

/** A host of a destination: mail can be sent to it, or how far the connection came. */
export type HostEvent =
  | { readonly event: 'connected'; readonly tls?: string }
  | { readonly event: 'unreached'; readonly stage: 'dns' | 'connect' | 'greeting' | 'tls' | 'auth' | 'session' };

export interface Observer {
  message(event: MessageEvent): void;
  session(event: SessionEvent): void;
  host(event: HostEvent): void;
  /** Anything else that a person should know; fields must be free of secrets. */
  readonly log: (level: 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>) => void;
}
