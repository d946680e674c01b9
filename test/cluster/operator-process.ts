/**
 * `chasqui operator` as a process, for tests: its log, its ports, its signals.
 *
 * ```ts
 * await using operator = await OperatorProcess.start(api.kubeconfig);
 * await operator.untilSays('this process leads');
 * ```
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { goOn, halt } from '../harness/halted.ts';
import { freePorts, type LogLine } from '../harness/standalone.ts';

const CHASQUI = join(import.meta.dirname, '../../bin/chasqui');
const WAIT_MS = 60_000;
const LOOK_MS = 20;

export class OperatorProcess implements AsyncDisposable {
  readonly lines: LogLine[] = [];
  /** What was written to stderr. */
  complaints = '';
  readonly #child: ChildProcess;
  readonly #metrics: string;
  readonly #health: string;

  private constructor(kubeconfig: string, metricsPort: number, healthPort: number, words: readonly string[]) {
    this.#metrics = `127.0.0.1:${metricsPort}`;
    this.#health = `127.0.0.1:${healthPort}`;
    const all = [
      ...['operator', '--kubeconfig', kubeconfig, '--relay-image', 'chasqui:test'],
      ...['--metrics-bind-address', this.#metrics, '--health-probe-bind-address', this.#health, ...words],
    ];
    this.#child = spawn(CHASQUI, all, { stdio: ['ignore', 'pipe', 'pipe'] });
    assert.ok(this.#child.stdout && this.#child.stderr);
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.lines.push(JSON.parse(line) as LogLine));
    this.#child.stderr.on('data', (text) => {
      this.complaints += String(text);
    });
  }

  /** Starts it, and waits until it serves. */
  static async start(kubeconfig: string, ...words: readonly string[]): Promise<OperatorProcess> {
    const [metricsPort = 0, healthPort = 0] = await freePorts(2);
    const operator = new OperatorProcess(kubeconfig, metricsPort, healthPort, words);
    await operator.untilSays('operator starts');
    return operator;
  }

  /** What its requests say of who asks. */
  get userAgent(): string {
    const { instance, version } = this.lines.find(({ message }) => message === 'operator starts') ?? {};
    return `chasqui-operator/${String(version)} (${String(instance)})`;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get runs(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async halt(): Promise<void> {
    await halt(this.pid);
  }

  goOn(): void {
    goOn(this.pid);
  }

  /** Waits for its end; returns its exit code, null after a signal that it did not catch. */
  async end(): Promise<number | null> {
    if (this.runs) await once(this.#child, 'exit');
    return this.#child.exitCode;
  }

  /** Stops it as Kubernetes does; it must end well. */
  async stop(): Promise<void> {
    this.signal('SIGTERM');
    assert.equal(await this.end(), 0, this.#lastWords());
  }

  async untilSays(message: string | RegExp): Promise<LogLine> {
    const fits = (line: LogLine): boolean =>
      typeof message === 'string' ? line.message === message : message.test(String(line.message));
    await this.until(`it says ${String(message)}`, () => this.lines.some(fits));
    return this.lines.find(fits) ?? {};
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    for (const endMs = performance.now() + WAIT_MS; !(await holds()); await pause(LOOK_MS)) {
      assert.ok(performance.now() < endMs && this.runs, `never came: ${what}\n${this.#lastWords()}`);
    }
  }

  /** /readyz: code and text. */
  async readiness(): Promise<readonly [number, string]> {
    const response = await fetch(`http://${this.#health}/readyz`);
    return [response.status, await response.text()];
  }

  async healthy(): Promise<boolean> {
    return (await fetch(`http://${this.#health}/healthz`)).ok;
  }

  async untilReady(): Promise<void> {
    await this.until('it is ready', async () => (await this.readiness())[0] === 200);
  }

  /** Value of a metric, by its name and labels as they stand on the page. */
  async metric(name: string): Promise<number | undefined> {
    const page = await (await fetch(`http://${this.#metrics}/metrics`)).text();
    const line = page.split('\n').find((each) => each.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.runs) this.signal('SIGKILL');
    await this.end();
  }

  #lastWords(): string {
    return `it said last:\n${this.lines
      .slice(-15)
      .map((line) => JSON.stringify(line))
      .join('\n')}\n${this.complaints}`;
  }
}
