/** What the spool's main-thread side and its writer thread say to each other. */
import type { BodyFileInfo } from './rows.ts';
import type { Lane, SpoolStats, Usage } from './spool.ts';

/** A message to commit, in the form in which it is stored: JSON is made on the sending side, once. */
export interface NewMessage {
  readonly id: number;
  readonly envelope: string;
  readonly sender: string;
  /** Owns its whole ArrayBuffer, which moves between the threads instead of being copied; or it lies in a file. */
  readonly body: Uint8Array<ArrayBuffer> | BodyFileInfo;
  readonly deliveries: readonly { readonly destination: string; readonly recipients: string }[];
}

export interface StoredOutcome {
  readonly delivery: number;
  readonly attempts: number;
  /** JSON of the remaining recipients; undefined: the delivery is over. */
  readonly recipients: string | undefined;
  readonly dueMs: number;
  readonly signature: Uint8Array | undefined;
}

/** Changes: they share the transaction of their group, and are answered after its COMMIT. */
export type Change =
  | { readonly kind: 'accept'; readonly message: NewMessage; readonly usage: Usage | undefined }
  | { readonly kind: 'record'; readonly outcomes: readonly StoredOutcome[]; readonly spawned: readonly NewMessage[] }
  | { readonly kind: 'park'; readonly deliveries: readonly number[]; readonly dueMs: number }
  | { readonly kind: 'reserve'; readonly upToId: number };

/** Questions: answered from what is committed. */
export type Question =
  | { readonly kind: 'lanes'; readonly limit: number }
  | {
      readonly kind: 'due';
      readonly destination: string;
      readonly sender: string;
      readonly nowMs: number;
      readonly limit: number;
    }
  | { readonly kind: 'read'; readonly id: number }
  | { readonly kind: 'list'; readonly limit: number }
  | { readonly kind: 'show'; readonly id: number }
  | { readonly kind: 'stats' }
  | { readonly kind: 'usage' };

/** Sent last: everything before it is committed, then the database is closed. */
export interface CloseRequest {
  readonly kind: 'close';
}

export interface StoredDelivery {
  readonly id: number;
  readonly message: number;
  readonly destination: string;
  readonly attempts: number;
  readonly recipients: string;
  readonly envelope: string;
}

export interface StoredMessage {
  readonly id: number;
  readonly envelope: string;
  readonly deliveries: readonly {
    readonly destination: string;
    readonly attempts: number;
    readonly dueMs: number | undefined;
    readonly recipients: string;
  }[];
}

export interface StoredContent {
  readonly signature: Uint8Array | undefined;
  readonly body: Uint8Array | BodyFileInfo;
}

/** First delivery id of each message of a change, in order, and the bodies handed back. */
export interface Committed {
  readonly firstDeliveries: readonly number[];
  readonly bodies: readonly Uint8Array<ArrayBuffer>[];
}

export interface Answers {
  readonly accept: Committed;
  readonly record: Committed;
  readonly park: undefined;
  readonly reserve: undefined;
  readonly lanes: readonly Lane[];
  readonly due: readonly StoredDelivery[];
  readonly read: StoredContent | undefined;
  readonly list: readonly StoredMessage[];
  readonly show: StoredMessage | undefined;
  readonly stats: SpoolStats;
  readonly usage: readonly Usage[];
  readonly close: undefined;
}

export type Request = Change | Question | CloseRequest;
export type Answer = Answers[keyof Answers];

export interface Failure {
  /**
   * unavailable: nothing of it was stored. inDoubt: it may or may not be found at the next opening. damage: see
   * SpoolDamage. refused: the request itself cannot be carried out.
   */
  readonly reason: 'unavailable' | 'inDoubt' | 'damage' | 'refused';
  readonly message: string;
}

export type Result = { readonly ok: true; readonly answer: Answer } | { readonly ok: false; readonly failure: Failure };

export interface Numbered<T> {
  readonly ticket: number;
  readonly value: T;
}

export interface WriterOptions {
  readonly folder: string;
  readonly lockWaitMs: number;
  /** What every delivery that was in memory becomes due at. */
  readonly openedMs: number;
}

export interface Opened {
  readonly spoolId: string;
  /** First message id to give out, and the last one that may be before another `reserve` is answered. */
  readonly nextId: number;
  readonly reservedId: number;
}

export type FromWriter =
  | { readonly kind: 'opened'; readonly opened: Opened }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'results'; readonly results: readonly Numbered<Result>[] }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'fatal'; readonly message: string };
