/** On one machine events are log lines. What was just told is not told again, as an API server counts repetitions. */
import type { KindName, ObjectKey } from '../../../crds/resource.ts';
import type { Events, OperatorEvent } from '../../backend.ts';
import type { Log } from './log.ts';

const SILENCE_MS = 10 * 60_000;
const REMEMBERED = 1_000;

export class LoggedEvents implements Events {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #fileOf: (kind: KindName, key: ObjectKey) => string | undefined;
  readonly #told = new Map<string, number>();

  /**
   * @param nowMs milliseconds, on any clock
   * @param fileOf the manifest of an object, which is where a person mends what a warning tells
   */
  constructor(log: Log, nowMs: () => number, fileOf: (kind: KindName, key: ObjectKey) => string | undefined) {
    this.#log = log;
    this.#nowMs = nowMs;
    this.#fileOf = fileOf;
  }

  emit({ kind, key: { namespace, name }, type, reason, message }: OperatorEvent): void {
    const id = JSON.stringify([kind, namespace, name, reason, message]);
    const toldMs = this.#told.get(id);
    if (toldMs !== undefined && this.#nowMs() - toldMs < SILENCE_MS) return;
    this.#told.delete(id);
    this.#told.set(id, this.#nowMs());
    const [oldest] = this.#told.keys();
    if (this.#told.size > REMEMBERED && oldest !== undefined) this.#told.delete(oldest);
    const file = type === 'Warning' ? this.#fileOf(kind, { namespace, name }) : undefined;
    const fields = { kind, namespace, name, reason, ...(file !== undefined && { file }) };
    this.#log[type === 'Warning' ? 'warn' : 'info'](fields, message);
  }
}
