/** Between the connection, which has socket and TLS, and what is said on it. */
import type { Rejection } from './policy.ts';

/** What a conversation needs of its connection. */
export interface Channel {
  /** IPv4-mapped addresses as IPv4. */
  readonly clientAddress: string;
  /** The address is the client's; false: a proxy's that does not say for whom it connects. */
  readonly isClientKnown: boolean;
  readonly secure: boolean;
  /** TLS version and cipher. */
  readonly tls: string | undefined;
  /** It has been open for too long. */
  readonly isExpired: boolean;
  /** How long it has been open. */
  readonly ageMs: number;
  /** How much of the client's time for its next command, or for content, is used up; 0 while it waits for us. */
  readonly waitedMs: number;
  /** Sends a reply; of several lines each with the code. */
  reply(code: number, ...lines: readonly string[]): void;
  /** What comes from now on is content, up to the line that ends it. */
  readContent(sink: ContentSink): void;
  /** Begins the handshake; what the client sent before it is dropped (RFC 3207 4.2). */
  startTls(): void;
  /** Ends the connection once the replies are out. */
  close(): void;
  /** Ends the connection at once, whatever is in hand. */
  cut(): void;
  /** As close, for a client that has said QUIT: it sends nothing more (RFC 5321 4.1.1.10). */
  quit(): void;
}

/** Takes the content of a message; a promise asks to wait with what follows, and never rejects. */
export interface ContentSink {
  push(chunk: Buffer): Promise<void> | undefined;
  end(): Promise<void>;
}

/** What a connection tells those who talk on it. */
export interface Conversation {
  /** The connection is there, under TLS where the listener begins with it. */
  greet(): void;
  /** Whether the next line belongs to an AUTH exchange. */
  readonly inAuth: boolean;
  /** One line, without its CRLF. The next one comes when the promise resolves; it never rejects. */
  command(line: Buffer): Promise<void> | undefined;
  /** A line that cannot be read; the session goes on. */
  badLine(rejection: Rejection): void;
  /** Nothing came for idleTimeout. */
  idle(): void;
  /** Nothing is in hand, and the session may not go on. */
  leave(): void;
  /** TLS is in use: what was said before counts no more (RFC 3207 4.2). */
  secured(): void;
  /** The connection is gone. */
  closed(): void;
}
