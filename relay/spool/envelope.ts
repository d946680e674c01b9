/**
 * The envelope: what is known of a message beside its content. Written once with the message and never again; what
 * changes stands in the recipients of its deliveries. Fields that a later version wrote are kept when read.
 */

export interface Envelope {
  readonly version: 1;
  /** Reverse path as the client gave it, domain as A-labels where it is ASCII; '' is the null sender. */
  readonly mailFrom: string;
  /** RFC 6531: the client said SMTPUTF8. */
  readonly smtputf8: boolean;
  /** RFC 6152 BODY parameter; the content is 8BITMIME when it has a byte above 127. */
  readonly bodyType: '7BIT' | '8BITMIME';
  /** RFC 3461. */
  readonly ret?: 'FULL' | 'HDRS';
  /** RFC 3461, decoded from xtext. */
  readonly envid?: string;
  /** Milliseconds since 1970 when the message was complete; expiry counts from here. */
  readonly arrivedMs: number;
  /** Bytes of the stored content. */
  readonly sizeBytes: number;
  readonly messageId?: string;
  /** User name of the session that submitted it; absent for an exempt network and for our own DSNs. */
  readonly user?: string;
  /** CIDR network that exempted the client from AUTH. */
  readonly network?: string;
  readonly listener?: string;
  readonly client?: { readonly address: string; readonly helo: string; readonly tls?: string };
  /** The domain to sign as (d=): lower case, A-labels; absent when the content goes out unsigned. */
  readonly signAs?: string;
  /** Base64 SHA-256 of the body in relaxed canonical form (RFC 6376 3.4.4); present where signAs is. */
  readonly bodyHash?: string;
  /** Bytes of the header block at the start of the content, blank line included. */
  readonly headerBytes: number;
  /** The id that the message got where it was accepted, when that was in another spool: it keeps it (see move.ts). */
  readonly queueId?: string;
}

export type RecipientState = 'queued' | 'deferred' | 'delivered' | 'bounced' | 'expired';

export interface Recipient {
  /** Forward path as the client gave it. */
  readonly address: string;
  /** RFC 3461 NOTIFY; absent means the default: FAILURE. */
  readonly notify?: readonly ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[];
  /** RFC 3461 ORCPT, as given (addr-type;xtext). */
  readonly orcpt?: string;
  readonly state: RecipientState;
  readonly lastReply?: Reply;
}

/** What the other side, or we in its place, said about a recipient. */
export interface Reply {
  /** Three digits, as SMTP has them. */
  readonly code: number;
  /** RFC 3463, such as 5.1.1. */
  readonly enhanced?: string;
  readonly text: string;
  /** Host that said so; absent where we judged ourselves (no route, expiry). */
  readonly host?: string;
}
