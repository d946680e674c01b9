/** The main thread's end of the writer thread: requests go out in one message per turn of the event loop. */
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Condition } from './condition.ts';
import type {
  Answer,
  Answers,
  Failure,
  FromWriter,
  NewMessage,
  Numbered,
  Opened,
  Request,
  Result,
  WriterOptions,
} from './requests.ts';
import { ChangeRefused, SpoolDamage, SpoolFull, SpoolUnavailable } from './spool.ts';
import type { Log } from './storage.ts';

/** New mail beyond this is refused: the disk does not keep up, and memory is not endless. */
const WAITING_REQUESTS = 4096;
const WAITING_BYTES = 128 * 1024 * 1024;

/** The commit failed in a way that does not tell whether it is on disk. */
export class CommitInDoubt extends SpoolUnavailable {}

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly bytes: number;
}

/**
 * Of the thread's heap, per semispace. Contents of messages lie outside it, and what else comes is gone a moment later:
 * with the 8 MiB that bin/chasqui gives the main thread it would hold 12 MiB more for the 6 that live.
 */
const NEW_SPACE_MIB = 1;

export class WriterThread {
  readonly #worker: Worker;
  readonly #onFatal: (error: Error) => void;
  readonly #log: Log;
  readonly #waiting = new Map<number, Waiting>();
  #outbox: Numbered<Request>[] = [];
  #waitingBytes = 0;
  #tickets = 0;
  #ended: Error | undefined;
  #closing = false;

  #condition: Condition | undefined;

  private constructor(worker: Worker, log: Log, onFatal: (error: Error) => void) {
    this.#worker = worker;
    this.#log = log;
    this.#onFatal = onFatal;
  }

  /** @throws {SpoolDamage | SpoolUnavailable} as Storage.open does. */
  static start(
    options: WriterOptions,
    log: Log,
    onFatal: (error: Error) => void,
  ): Promise<{ thread: WriterThread; opened: Opened; condition: Condition }> {
    // V8 looks at it when the heap of a thread is made; this is the only thread that is started.
    setFlagsFromString(`--max-semi-space-size=${NEW_SPACE_MIB}`);
    const worker = new Worker(new URL('./writer.ts', import.meta.url), { workerData: options, name: 'spool' });
    const thread = new WriterThread(worker, log, onFatal);
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWriter) => {
        if (message.kind === 'opened') {
          const condition = new Condition(log, message.report);
          thread.#condition = condition;
          resolve({ thread, opened: message.opened, condition });
        } else if (message.kind === 'failed') {
          thread.#ended = errorOf(message.failure);
          reject(thread.#ended);
        } else thread.#take(message);
      });
      worker.on('error', (error) => {
        const fault = new Error(`the spool's writer thread failed: ${String(error)}`);
        reject(fault);
        thread.#fail(fault);
      });
      worker.on('exit', (code) => {
        const fault = new Error(`the spool's writer thread ended with code ${code}`);
        reject(fault);
        thread.#fail(fault);
      });
    });
  }

  /**
   * Bodies of the messages in the request are copied: the caller goes on with its own, and memory is counted once in
   * each thread (handing them over and back counted them twice here, which made the collector run twice as often).
   *
   * @throws {SpoolUnavailable | SpoolDamage | Error}
   */
  request<K extends keyof Answers>(request: Extract<Request, { kind: K }>): Promise<Answers[K]> {
    if (this.#ended) return Promise.reject(new SpoolUnavailable(this.#ended.message));
    if (this.#closing) return Promise.reject(new SpoolUnavailable('the spool is being closed'));
    const bytes = bytesOf(messagesOf(request));
    if ((request.kind === 'accept' || request.kind === 'adopt') && this.#isFull(bytes)) {
      return Promise.reject(new SpoolUnavailable('the disk does not keep up with new mail'));
    }
    const ticket = ++this.#tickets;
    if (this.#outbox.length === 0) setImmediate(() => this.#flush());
    this.#outbox.push({ ticket, value: request });
    this.#waitingBytes += bytes;
    return new Promise((resolve, reject) => {
      // The writer answers each kind of request with the answer of that kind; the ticket ties the two together.
      this.#waiting.set(ticket, { resolve: resolve as (answer: Answer) => void, reject, bytes });
    });
  }

  /** Ends the thread after everything that was requested. */
  async close(): Promise<void> {
    const closed = this.request<'close'>({ kind: 'close' });
    this.#closing = true;
    await closed;
    this.#ended ??= new Error('the spool is closed');
    await this.#worker.terminate();
  }

  #isFull(bytes: number): boolean {
    return this.#waiting.size >= WAITING_REQUESTS || this.#waitingBytes + bytes > WAITING_BYTES;
  }

  #flush(): void {
    if (this.#ended) return;
    this.#worker.postMessage(this.#outbox);
    this.#outbox = [];
  }

  #take(message: Extract<FromWriter, { kind: 'results' | 'report' | 'log' | 'fatal' }>): void {
    if (message.kind === 'log') this.#log(message.level, message.message, message.fields);
    else if (message.kind === 'fatal') this.#fail(new Error(message.message));
    else if (message.kind === 'report') this.#condition?.report(message.report);
    else {
      if (this.#condition) this.#condition.messages = message.messages;
      for (const { ticket, value } of message.results) this.#settle(ticket, value);
    }
  }

  #settle(ticket: number, result: Result): void {
    const waiting = this.#waiting.get(ticket);
    if (!waiting) return;
    this.#waiting.delete(ticket);
    this.#waitingBytes -= waiting.bytes;
    if (result.ok) waiting.resolve(result.answer);
    else waiting.reject(errorOf(result.failure));
  }

  /** Whoever waits learns that nothing is known: no 250 may follow from it. */
  #fail(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const { reject } of this.#waiting.values()) reject(new CommitInDoubt(error.message));
    this.#waiting.clear();
    this.#onFatal(error);
  }
}

function messagesOf(request: Request): readonly NewMessage[] {
  if (request.kind === 'accept' || request.kind === 'adopt') return [request.message];
  return request.kind === 'record' ? request.spawned : [];
}

function bytesOf(messages: readonly NewMessage[]): number {
  return messages.reduce((sum, { body }) => sum + (body instanceof Uint8Array ? body.length : 0), 0);
}

function errorOf({ reason, message }: Failure): Error {
  if (reason === 'damage') return new SpoolDamage(message);
  if (reason === 'full') return new SpoolFull(message);
  if (reason === 'inDoubt') return new CommitInDoubt(message);
  return reason === 'unavailable' ? new SpoolUnavailable(message) : new ChangeRefused(message);
}
