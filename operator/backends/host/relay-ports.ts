/** The ports of one relay: all of them bound, or the reason why not, which is told and tried again with backoff. */
import type { Socket } from 'node:net';
import type { RelayReplica } from '../../backend.ts';
import type { Log } from './log.ts';
import { PortProblem, type Ports } from './ports.ts';
import { restartDelayMs } from './supervision.ts';

export type Hindrance = NonNullable<RelayReplica['problem']>;

export class RelayPorts {
  readonly #ports: Ports;
  /** NAMESPACE/NAME */
  readonly #holder: string;
  readonly #log: Log;
  #failures = 0;
  #retryAtMs: number | undefined;

  constructor(ports: Ports, holder: string, log: Log) {
    this.#ports = ports;
    this.#holder = holder;
    this.#log = log;
  }

  /** When to try again (ms since 1970); undefined when nothing hinders. */
  get retryAtMs(): number | undefined {
    return this.#retryAtMs;
  }

  /** Binds the ports that are not bound yet. Returns what hinders. */
  bind(wanted: readonly number[], nowMs: number): Hindrance | undefined {
    try {
      for (const port of wanted) this.#ports.bind(port, this.#holder);
      this.#failures = 0;
      this.#retryAtMs = undefined;
      return undefined;
    } catch (error) {
      if (!(error instanceof PortProblem)) throw error;
      const { reason, message } = error;
      if (nowMs >= (this.#retryAtMs ?? 0)) {
        this.#failures += 1;
        // Unlike a process that died, a port that is taken is not tried again at once.
        const retryMs = restartDelayMs(this.#failures + 1);
        this.#retryAtMs = nowMs + retryMs;
        this.#log.warn({ relay: this.#holder, reason, retryMs }, message);
      }
      return { reason, message };
    }
  }

  /**
   * Socket of a port, to hand to replicas.
   * @throws {PortProblem} when it cannot be had
   */
  socket(port: number): Socket {
    return this.#ports.bind(port, this.#holder);
  }

  /** Closes what is in none of the lists. */
  keepOnly(...lists: readonly Iterable<number>[]): void {
    this.#ports.keepOnly(new Set(lists.flatMap((list) => [...list])), this.#holder);
  }
}
