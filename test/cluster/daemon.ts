/** A program of the cluster that runs until it is ended, with its log in a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { goOn, halt } from '../harness/halted.ts';

/** util-linux: the kernel ends the child when the test ends, even by SIGKILL. Elsewhere disposal alone does. */
const SETPRIV = '/usr/bin/setpriv';
const TAIL_LINES = 15;
/** Longer than a start takes on a busy machine. */
const WAIT_MS = 120_000;
const LOOK_MS = 50;

export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #program: string;
  readonly #log: string;

  private constructor(program: string, words: readonly string[], log: string) {
    this.#program = program;
    this.#log = log;
    const command = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig=KILL', '--', program] : [program];
    const out = openSync(log, 'a');
    try {
      this.#child = spawn(command[0] ?? program, [...command.slice(1), ...words], { stdio: ['ignore', out, out] });
    } finally {
      closeSync(out);
    }
  }

  /**
   * Starts it, and waits until it is ready.
   * @param log path of the file that its output is added to
   */
  static async start(
    program: string,
    words: readonly string[],
    log: string,
    ready: () => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<Daemon> {
    const daemon = new Daemon(program, words, log);
    try {
      await daemon.#until(ready);
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  get runs(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Last lines of the log: why it ended. */
  get lastWords(): string {
    return `${this.#program} said last:\n${readFileSync(this.#log, 'utf8').split('\n').slice(-TAIL_LINES).join('\n')}`;
  }

  async #until(ready: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!(await ready())) {
      if (!this.runs) throw new Error(`it ended; ${this.lastWords}`);
      if (Date.now() > deadline) throw new Error(`it is not ready after ${WAIT_MS} ms; ${this.lastWords}`);
      await pause(LOOK_MS);
    }
  }

  async halt(): Promise<void> {
    await halt(this.#child.pid ?? 0);
  }

  goOn(): void {
    goOn(this.#child.pid ?? 0);
  }

  /** Ends it; one that does not end by SIGTERM within the time in ms is killed. */
  async stop(withinMs: number): Promise<void> {
    if (!this.runs) return;
    const closed = once(this.#child, 'exit');
    // One that was stopped by SIGSTOP hears SIGTERM only when it goes on.
    this.#child.kill('SIGCONT');
    this.#child.kill('SIGTERM');
    const killing = setTimeout(() => this.#child.kill('SIGKILL'), withinMs);
    await closed;
    clearTimeout(killing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.runs) return;
    const closed = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await closed;
  }
}
