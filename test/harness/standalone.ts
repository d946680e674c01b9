/**
 * A running `chasqui standalone` for tests: the real program, a folder of manifests, a state folder that outlives it.
 *
 * ```ts
 * await using standalone = await Standalone.start({ 'relay.yaml': relayManifest(ports) });
 * await standalone.until('SmtpRelay/default/outbound', ready);
 * ```
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { CHASQUI } from './program.ts';

const DEADLINE_MS = 30_000;
const LOOK_MS = 50;

/** A line of the log, of the standalone or of a replica. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly message?: string };

/** An object as it is stored; only what tests look at. */
export interface StoredObject {
  readonly metadata: { readonly uid: string; readonly generation: number };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: {
    readonly conditions?: readonly { type: string; status: string; reason: string; message: string }[];
    readonly replicaStates?: readonly { ordinal: number; state: string; queued?: boolean }[];
    readonly dnsRecords?: readonly StoredRecord[];
    readonly dkim?: { readonly keys: readonly { selector: string; algorithm: string; state: string }[] };
  };
}

/** A record in the status of a MailDomain. */
export interface StoredRecord {
  readonly type: string;
  readonly name: string;
  readonly value: string;
  readonly state?: string;
  readonly observed?: string;
}

export class Standalone implements AsyncDisposable {
  readonly root: string;
  readonly manifests: string;
  readonly state: string;
  /** All lines since the test began, over restarts. */
  readonly lines: LogLine[] = [];
  #child!: ChildProcess;
  readonly #words: readonly string[];

  private constructor(root: string, words: readonly string[]) {
    this.root = root;
    this.#words = words;
    this.manifests = join(root, 'manifests');
    this.state = join(root, 'state');
  }

  /** @param words more of the command line */
  static async start(files: Readonly<Record<string, string>>, words: readonly string[] = []): Promise<Standalone> {
    const root = await mkdtemp(join(tmpdir(), 'standalone-'));
    const standalone = new Standalone(root, words);
    await mkdir(standalone.manifests);
    for (const [name, content] of Object.entries(files)) standalone.write(name, content);
    standalone.run();
    return standalone;
  }

  /** Starts the program, on the state folder as it is. */
  run(): void {
    const words = ['standalone', '-f', this.manifests, '--state', this.state, '--listen-address', '127.0.0.1'];
    words.push(...this.#words);
    this.#child = spawn(CHASQUI, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    if (!this.#child.stdout) throw new Error('no standard output');
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.lines.push(JSON.parse(line)));
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('chasqui could not be started');
    return this.#child.pid;
  }

  write(name: string, content: string): void {
    writeFileSync(join(this.manifests, name), content);
  }

  edit(name: string, change: (content: string) => string): void {
    this.write(name, change(readFileSync(join(this.manifests, name), 'utf8')));
  }

  remove(name: string): void {
    rmSync(join(this.manifests, name));
  }

  /** The object as `KIND/NAMESPACE/NAME` is stored; undefined when it is not. */
  object(id: string): StoredObject | undefined {
    try {
      return JSON.parse(readFileSync(join(this.state, 'objects', `${id}.json`), 'utf8'));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  condition(id: string, type: string) {
    return this.object(id)?.status?.conditions?.find((condition) => condition.type === type);
  }

  /** States of the replicas of an SmtpRelay, such as `Ready Stopped+mail`. */
  replicas(id: string): string {
    return (this.object(id)?.status?.replicaStates ?? [])
      .map(({ state, queued }) => `${state}${queued ? '+mail' : ''}`)
      .join(' ');
  }

  /** Process ids of the replicas that were started last, by ordinal. */
  replicaPids(): ReadonlyMap<number, number> {
    const started = this.lines.filter(({ message }) => message === 'replica started');
    return new Map(started.map(({ ordinal, pid }) => [Number(ordinal), Number(pid)]));
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (!(await holds())) {
      if (performance.now() > deadlineMs) {
        const last = this.lines.slice(-20).map((line) => JSON.stringify(line));
        throw new Error(`never came: ${what}\n${last.join('\n')}`);
      }
      await pause(LOOK_MS);
    }
  }

  untilReady(id: string): Promise<void> {
    return this.until(`${id} is Ready`, () => this.condition(id, 'Ready')?.status === 'True');
  }

  untilReplicas(id: string, states: string): Promise<void> {
    return this.until(`replicas of ${id} are ${states}`, () => this.replicas(id) === states);
  }

  /** As SIGKILL of the supervisor alone. Its replicas see their channel close. */
  async kill(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  /** As Ctrl-C. Resolves with the exit code once all output is out. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    await closed;
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.root, { recursive: true, force: true });
  }
}

/**
 * Ports that are free now, in one row, since replica i serves its metrics at the monitoring port + i. They lie below
 * those that the system gives to outgoing connections, which would take one while no process holds it.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  for (;;) {
    const first = randomInt(10_000, 32_000);
    const ports = Array.from({ length: count }, (_, index) => first + index);
    const results = await Promise.allSettled(ports.map(bound));
    const closes = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    await Promise.all(closes.map((close) => close()));
    if (closes.length === count) return ports;
  }
}

/** Listens on the port for a moment; returns what closes it. */
async function bound(port: number): Promise<() => Promise<void>> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  return async () => {
    server.close();
    await once(server, 'close');
  };
}
