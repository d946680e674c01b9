/** On one machine events are log lines. What was just told is not told again, as an API server counts repetitions. */
import type { Events, OperatorEvent } from '../../backend.ts';
import type { Log } from './log.ts';

const SILENCE_MS = 10 * 60_000;
const REMEMBERED = 1_000;

export class LoggedEvents implements Events {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #told = new Map<string, number>();

  /** @param nowMs milliseconds, on any clock */
  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  emit({ kind, key: { namespace, name }, type, reason, message }: OperatorEvent): void {
    const id = JSON.stringify([kind, namespace, name, reason, message]);
    const toldMs = this.#told.get(id);
    if (toldMs !== undefined && this.#nowMs() - toldMs < SILENCE_MS) return;
    this.#told.delete(id);
    this.#told.set(id, this.#nowMs());
    const [oldest] = this.#told.keys();
    if (this.#told.size > REMEMBERED && oldest !== undefined) this.#told.delete(oldest);
    this.#log[type === 'Warning' ? 'warn' : 'info']({ kind, namespace, name, reason }, message);
  }
}
