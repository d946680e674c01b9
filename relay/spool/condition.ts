/**
 * Whether new mail may be taken, judged from what the writer reports each second and at each failure. What is queued
 * already goes on being delivered as long as its outcomes can be recorded.
 */
import type { WriterReport } from './requests.ts';
import {
  type Hindrance,
  type IntakeBounds,
  SpoolFull,
  type SpoolHealth,
  SpoolUnavailable,
  type WriteFailure,
} from './spool.ts';
import type { Log } from './storage.ts';

/** Once full, this much more must be free before mail is taken again: the line is not crossed with every message. */
const AGAIN = 1.05;

export class Condition {
  readonly #log: Log;
  #report: WriterReport;
  #bounds: IntakeBounds = { minFreeBytes: 0, maxMessages: Number.POSITIVE_INFINITY };
  #messages = 0;
  /** Bytes taken since the last report. */
  #takenBytes = 0;
  #bodiesFail: WriteFailure | undefined;
  #told: Hindrance['kind'] | undefined;
  #full = false;
  #notUnderstood = 0;

  constructor(log: Log, report: WriterReport) {
    this.#log = log;
    this.#report = report;
    this.#messages = report.messages;
    this.#tell();
  }

  set bounds(bounds: IntakeBounds) {
    this.#bounds = bounds;
  }

  /** Messages in the queue. */
  set messages(messages: number) {
    this.#messages = messages;
  }

  took(bytes: number): void {
    this.#takenBytes += bytes;
  }

  report(report: WriterReport): void {
    this.#report = report;
    this.#messages = report.messages;
    this.#takenBytes = 0;
    this.#tell();
  }

  /** Whether bodies in files can be written; they are written by another thread than the database. */
  set bodies(failing: WriteFailure | undefined) {
    this.#bodiesFail = failing;
    this.#tell();
  }

  get bodies(): WriteFailure | undefined {
    return this.#bodiesFail;
  }

  /** A delivery whose rows are whole, and of a form that this version does not know. */
  leaveOut(delivery: number, error: unknown): void {
    this.#notUnderstood += 1;
    this.#log('error', `a delivery cannot be understood; left out until the next start: ${String(error)}`, {
      delivery,
    });
  }

  get health(): SpoolHealth {
    const hindrance = this.hindrance();
    return {
      ...(hindrance && { hindrance }),
      records: this.#report.failing === undefined,
      freeBytes: this.#report.freeBytes,
      diskBytes: this.#report.diskBytes,
      setAside: this.#report.setAside + this.#notUnderstood,
      readFailures: this.#report.readFailures,
      unchecked: this.#report.unchecked,
    };
  }

  /** @throws {SpoolUnavailable} when no mail is taken. */
  check(): void {
    const hindrance = this.hindrance();
    if (hindrance?.kind === 'full') throw new SpoolFull(hindrance.problem);
    if (hindrance) throw new SpoolUnavailable(hindrance.problem);
  }

  hindrance(): Hindrance | undefined {
    const { damaged, failing } = this.#report;
    if (damaged !== undefined) return { kind: 'damaged', problem: damaged };
    return failing ?? this.#bodiesFail ?? this.#outOfBounds();
  }

  #outOfBounds(): Hindrance | undefined {
    const { minFreeBytes, maxMessages } = this.#bounds;
    const margin = this.#full ? AGAIN : 1;
    const free = this.#report.freeBytes - this.#takenBytes;
    const problem =
      free < minFreeBytes * margin
        ? `${free} bytes are free on the disk of the queue, and queue.minFree is ${minFreeBytes}`
        : this.#messages * margin >= maxMessages
          ? `${this.#messages} messages are queued, and queue.maxMessages is ${maxMessages}`
          : undefined;
    this.#full = problem !== undefined;
    return problem === undefined ? undefined : { kind: 'full', problem };
  }

  #tell(): void {
    const hindrance = this.hindrance();
    if (hindrance?.kind === this.#told) return;
    this.#told = hindrance?.kind;
    if (hindrance) this.#log('error', 'the queue takes no mail', { ...hindrance });
    else this.#log('info', 'the queue takes mail again');
  }
}
