/** A replica under measurement: the real program on a spool that is there already; its memory as the kernel tells it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { queueCounts, queuePage } from '../../../cli/admin-client.ts';
import type { SmtpRelaySpec } from '../../../crds/smtprelay.ts';
import { writeRelayConfig } from '../../harness/relay-process.ts';
import { freePorts } from '../../harness/standalone.ts';

const CHASQUI = join(import.meta.dirname, '../../../bin/chasqui');
const STARTED = '"message":"relay started"';
const LOOKED_AT_MS = 1_000;
/** The most that the admin API lists. */
const LISTED = 1_000;

export class Replica implements AsyncDisposable {
  readonly port: number;
  readonly #monitoring: number;
  readonly #admin: string;
  readonly #child: ChildProcess;
  readonly #started: Promise<void>;

  private constructor(child: ChildProcess, port: number, monitoring: number, admin: string) {
    this.#child = child;
    this.port = port;
    this.#monitoring = monitoring;
    this.#admin = admin;
    if (!child.stdout) throw new Error('the replica has no output');
    const lines = createInterface({ input: child.stdout });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    lines.on('line', (line) => {
      if (line.includes(STARTED)) resolve();
      else if (!line.includes('"level":"info"')) process.stderr.write(`${line}\n`);
    });
    child.on('exit', () => reject(new Error('the replica ended before it had started')));
    promise.catch(() => undefined);
    this.#started = promise;
  }

  /**
   * @param options of Node, for a profile
   * @param delivery where mail goes, in place of all of it to the destination
   */
  static async spawn(
    root: string,
    destinationPort: number,
    options = '',
    delivery: Partial<SmtpRelaySpec['delivery']> = {},
  ): Promise<Replica> {
    const [port = 0, monitoring = 0] = await freePorts(2);
    const config = join(root, 'config');
    const admin = join(root, 'admin.sock');
    const retry = { schedule: ['30m', '2h'], expireAfter: '120h' };
    await writeRelayConfig(config, { port, monitoring }, destinationPort, { retry, ...delivery });
    const words = ['relay', '--config', config, '--spool', join(root, 'spool'), '--ordinal', '0'];
    const child = spawn(
      CHASQUI,
      [...words, '--listen-address', '127.0.0.1', '--admin', admin, '--monitoring', '127.0.0.1'],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: options } },
    );
    return new Replica(child, port, monitoring, admin);
  }

  /** Resolves when it takes mail. */
  started(): Promise<void> {
    return this.#started;
  }

  /** Scrapes the metrics and lists the queue again and again, as people and Prometheus do. */
  async watchFor(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      const page = await fetch(`http://127.0.0.1:${this.#monitoring}/metrics`);
      await page.text();
      await queuePage(this.#admin, {}, LISTED, undefined);
      await pause(Math.min(LOOKED_AT_MS, Math.max(0, end - performance.now())));
    }
  }

  /** Counts the whole queue, and looks through all of it for a sender who has nothing there. Resolves with the time it took, ms. */
  async lookedThrough(): Promise<number> {
    const began = performance.now();
    await queueCounts(this.#admin);
    let after: string | undefined;
    do {
      ({ next: after } = await queuePage(this.#admin, { sender: 'nobody@bench.test' }, LISTED, after));
    } while (after !== undefined);
    return performance.now() - began;
  }

  /** Peak of the resident set since the start, MiB. */
  peakMiB(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
  }

  /** CPU time so far, s. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
  }
}
