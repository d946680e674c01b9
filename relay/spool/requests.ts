/** What the spool's main-thread side and its writer thread say to each other. */
import type { QueueFilter } from './filter.ts';
import type { Hasten } from './hasten.ts';
import type { Adopted, Marked, Movable } from './move.ts';
import type { BodyFileInfo } from './rows.ts';
import type {
  DueDestination,
  DueDestinations,
  Ending,
  QueueCounts,
  SpoolStats,
  Steered,
  Steering,
  Taken,
  Usage,
  Wish,
  WriteFailure,
} from './spool.ts';

/** A message to commit, in the form in which it is stored: JSON is made on the sending side, once. */
export interface NewMessage {
  readonly id: number;
  readonly envelope: string;
  readonly sender: string;
  /** Alone in its ArrayBuffer, since all of that is copied to the writer's thread; or it lies in a file. */
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
  readonly intent: number | undefined;
}

/** What a person does to deliveries, see Spool.steer. */
export interface Steer {
  readonly action: Steering;
  readonly selections: readonly { readonly message: RowName; readonly destinations: readonly string[] | undefined }[];
  readonly nowMs: number;
  readonly ending: Ending | undefined;
  readonly intent: number | undefined;
}

export interface IntendedRow extends Ending {
  readonly delivery: number;
  readonly intent: number;
  readonly message: number;
  readonly destination: string;
}

/** Changes: they share the transaction of their group, and are answered after its COMMIT. */
export type Change =
  | { readonly kind: 'accept'; readonly message: NewMessage; readonly usage: Usage | undefined }
  | { readonly kind: 'record'; readonly outcomes: readonly StoredOutcome[]; readonly spawned: readonly NewMessage[] }
  | { readonly kind: 'park'; readonly deliveries: readonly number[]; readonly dueMs: number }
  | { readonly kind: 'hasten'; readonly by: Hasten; readonly afterId: number }
  | { readonly kind: 'requeue'; readonly upToId: number; readonly dueMs: number }
  | { readonly kind: 'reserve'; readonly upToId: number }
  | { readonly kind: 'mark'; readonly messages: readonly Movable[]; readonly peer: string; readonly nowMs: number }
  | ({ readonly kind: 'adopt' } & Adoption)
  | { readonly kind: 'finish'; readonly sequences: readonly number[] }
  | { readonly kind: 'forget'; readonly source: string; readonly upTo: number }
  | ({ readonly kind: 'steer' } & Steer);

/** A message from another spool. Its deliveries are those of the message, in the same order. */
export interface Adoption {
  readonly source: string;
  readonly sequence: number;
  readonly queueId: string;
  readonly message: NewMessage;
  readonly signature: Uint8Array | undefined;
  readonly deliveries: readonly { readonly attempts: number; readonly due: number; readonly recipients: string }[];
}

/** Questions: answered from what is committed. */
export type Question =
  | {
      readonly kind: 'destinations';
      readonly nowMs: number;
      readonly limit: number;
      readonly after: DueDestination | undefined;
    }
  | ({ readonly kind: 'take'; readonly destination: string } & Wish)
  | { readonly kind: 'giveBack'; readonly deliveries: readonly number[] }
  | { readonly kind: 'read'; readonly id: RowName }
  | { readonly kind: 'list'; readonly limit: number }
  | { readonly kind: 'show'; readonly id: RowName }
  | { readonly kind: 'search'; readonly filter: QueueFilter; readonly afterId: number; readonly limit: number }
  | { readonly kind: 'counts'; readonly afterId: number }
  | { readonly kind: 'latest' }
  | { readonly kind: 'stats' }
  | { readonly kind: 'usage' }
  | { readonly kind: 'intended'; readonly afterDelivery: number; readonly limit: number }
  | { readonly kind: 'movable'; readonly afterId: number; readonly limit: number }
  | { readonly kind: 'marked'; readonly afterSequence: number; readonly limit: number }
  | { readonly kind: 'move'; readonly sequence: number }
  | { readonly kind: 'finishedUpTo'; readonly peer: string };

/** A message: by its row, or by the queue id that it has from another spool. */
export type RowName = number | string;

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

export type StoredShare = Omit<Taken, 'deliveries'> & { readonly deliveries: readonly StoredDelivery[] };

export interface StoredMessage {
  readonly id: number;
  readonly envelope: string;
  readonly deliveries: readonly {
    readonly id: number;
    readonly destination: string;
    readonly attempts: number;
    /** See rows.ts: it may say that the delivery is on hold. */
    readonly due: number | undefined;
    readonly recipients: string;
  }[];
  /** Spool that it moves to. */
  readonly peer: string | undefined;
}

/** nextId: where to go on; absent at the end. */
export interface SearchedRows {
  readonly messages: readonly StoredMessage[];
  readonly nextId: number | undefined;
}

/** Where to go on, or at the end what was counted. */
export type CountedRows = { readonly nextId: number; readonly counts?: undefined } | { readonly counts: QueueCounts };

export interface StoredContent {
  /** Row of the message. */
  readonly id: number;
  readonly signature: Uint8Array | undefined;
  readonly body: Uint8Array | BodyFileInfo;
}

/** What a mark stands for: all that moves of a message, but its content. */
export interface MarkedRow {
  readonly message: number;
  readonly envelope: string;
  readonly deliveries: readonly {
    readonly destination: string;
    readonly attempts: number;
    readonly due: number;
    readonly recipients: string;
  }[];
}

/** First delivery id of each message of a change, in order. */
export interface Committed {
  readonly firstDeliveries: readonly number[];
  readonly marked: readonly Marked[];
  readonly adopted: Adopted | undefined;
  /** What `steer` came to, for each selection. */
  readonly steered: readonly Steered[];
  /** Deliveries that were given a due time by `hasten` or `requeue`, and where to go on; absent at the end. */
  readonly found: number;
  readonly next: number | undefined;
}

export interface Answers {
  readonly accept: Committed;
  readonly record: Committed;
  readonly park: undefined;
  readonly hasten: Committed;
  readonly requeue: Committed;
  readonly reserve: undefined;
  readonly mark: Committed;
  readonly adopt: Committed;
  readonly finish: Committed;
  readonly forget: Committed;
  readonly steer: Committed;
  readonly destinations: DueDestinations;
  readonly take: StoredShare;
  readonly giveBack: undefined;
  readonly read: StoredContent | undefined;
  readonly list: readonly StoredMessage[];
  readonly show: StoredMessage | undefined;
  readonly search: SearchedRows;
  readonly counts: CountedRows;
  /** See Lanes.latestMs. */
  readonly latest: number;
  readonly stats: SpoolStats;
  readonly usage: readonly Usage[];
  readonly intended: readonly IntendedRow[];
  readonly movable: readonly Movable[];
  readonly marked: readonly Marked[];
  readonly move: MarkedRow | undefined;
  readonly finishedUpTo: number;
  readonly close: undefined;
}

export type Request = Change | Question | CloseRequest;
export type Answer = Answers[keyof Answers];

export interface Failure {
  /**
   * full, unavailable: nothing of it was stored. inDoubt: it may or may not be found at the next opening. damage: see
   * SpoolDamage. refused: the request itself cannot be carried out.
   */
  readonly reason: 'full' | 'unavailable' | 'inDoubt' | 'damage' | 'refused';
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
  /** Deliveries up to this one are to be looked through by `requeue`; absent: all are. */
  readonly requeueUpTo: number | undefined;
}

/** What the writer thread knows of the disk and of what is on it. */
export interface WriterReport {
  /** Free space of the file system, and the pages of the database that are unused. */
  readonly freeBytes: number;
  /** Size of the file system. */
  readonly diskBytes: number;
  readonly messages: number;
  /** Why the last change, or the last try to write something, could not be committed. */
  readonly failing: WriteFailure | undefined;
  /** Why the queue is not all that was committed. */
  readonly damaged: string | undefined;
  readonly setAside: number;
  readonly readFailures: number;
  readonly unchecked: boolean;
}

export type FromWriter =
  | { readonly kind: 'opened'; readonly opened: Opened; readonly report: WriterReport }
  | { readonly kind: 'report'; readonly report: WriterReport }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'results'; readonly results: readonly Numbered<Result>[]; readonly messages: number }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'fatal'; readonly message: string };
