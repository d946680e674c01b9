/** One process of a relay: started, asked how it is, ended. Whether it should run is decided elsewhere. */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { askStatus, type ReplicaStatus, statusAgent } from './replica-status.ts';

/** How soon a replica is asked again: at first and after a change of its config, and otherwise (ms). */
const EAGER_MS = 100;
const STEADY_MS = 1_000;
const EAGER_FOR_MS = 10_000;
/** Questions without an answer after which what it said before no longer holds. */
const SILENT = 3;

/** What a replica needs of the environment; secrets of the caller's stay with the caller. */
const ENVIRONMENT = ['PATH', 'HOME', 'TZ', 'LANG', 'LC_ALL', 'NODE_ENV', 'NODE_EXTRA_CA_CERTS'];

export interface ReplicaLaunch {
  /** Program and first arguments that end in the command `relay`. */
  readonly program: readonly [string, ...string[]];
  readonly ordinal: number;
  readonly config: string;
  readonly spool: string;
  /** Folder of the Secrets that its config refers to. */
  readonly references: string;
  /** Path of the admin socket. */
  readonly admin: string;
  /** Address at which it serves metrics, health and readiness; its ordinal is added to the port of the config. */
  readonly monitoring: string;
  /**
   * The socket of a port that it asks for.
   * @throws {Error} when it is not to have it now, with the reason
   */
  readonly socket: (port: number) => Socket;
}

/** What a replica says by its channel, as it comes from another process. */
const Word = Schema.Compile(
  Type.Object({
    /** Hand me the socket of this port; I have closed it. */
    socket: Type.Union([Type.Literal('take'), Type.Literal('closed')]),
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  }),
);

export interface ReplicaEnd {
  /** For a person: how it ended. */
  readonly how: string;
  /** It ended because it was told to, and in time. */
  readonly orderly: boolean;
}

export class Replica {
  readonly ordinal: number;
  /** Resolves once the process is gone. */
  readonly ended: Promise<ReplicaEnd>;
  readonly #launch: ReplicaLaunch;
  readonly #child: ChildProcess;
  readonly #changed: () => void;
  readonly #agent = statusAgent();
  readonly #ports = new Set<number>();
  #status: ReplicaStatus | undefined;
  #drainedPolls = 0;
  #silent = 0;
  #eagerUntilMs = performance.now() + EAGER_FOR_MS;
  #poll: NodeJS.Timeout | undefined;
  #kill: NodeJS.Timeout | undefined;
  #stopping = false;
  #over = false;

  /** @param changed called when anything that this object tells is another than before */
  constructor(launch: ReplicaLaunch, changed: () => void) {
    this.#launch = launch;
    this.#changed = changed;
    this.ordinal = launch.ordinal;
    // A socket of a former process of this ordinal, which did not live to remove it.
    rmSync(launch.admin, { force: true });
    this.#child = start(launch);
    this.#child.on('message', (word: unknown) => this.#heard(word));
    this.ended = this.#end();
    this.#ask(EAGER_MS);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it last told; undefined until it did, and when it has gone silent. */
  get status(): ReplicaStatus | undefined {
    return this.#status;
  }

  /** Of the sockets that it was handed and has not closed. */
  get ports(): ReadonlySet<number> {
    return this.#ports;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** It takes no mail and holds none; told twice, since a session may end with a message in between. */
  get drained(): boolean {
    return this.#drainedPolls >= 2;
  }

  /** Its config has changed: news is to be expected. */
  expectNews(): void {
    this.#eagerUntilMs = performance.now() + EAGER_FOR_MS;
    if (!this.#over) this.#ask(EAGER_MS);
  }

  /** Asks it to finish what is in hand and end; after the grace time (ms) it is ended. */
  terminate(graceMs: number): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    // What it tells last is what is known of the spool it leaves.
    if (!this.#over) this.#ask(EAGER_MS);
    this.#kill = setTimeout(() => this.kill(), graceMs);
  }

  kill(): void {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
  }

  #heard(word: unknown): void {
    if (!Word.Check(word)) return;
    const { socket: wish, port } = word;
    if (wish === 'take') this.#hand(port);
    else this.#ports.delete(port);
    this.#changed();
  }

  #hand(port: number): void {
    // A replica that ends meanwhile needs nothing any more.
    const sent = (): void => undefined;
    try {
      this.#child.send({ port }, this.#launch.socket(port), { keepOpen: true }, sent);
      this.#ports.add(port);
    } catch (error) {
      this.#child.send({ port, problem: error instanceof Error ? error.message : String(error) }, sent);
    }
  }

  #ask(inMs: number): void {
    clearTimeout(this.#poll);
    this.#poll = setTimeout(() => void this.#askNow(), inMs);
  }

  async #askNow(): Promise<void> {
    const before = { status: this.#status, drained: this.drained };
    try {
      const status = await askStatus(this.#launch.admin, this.#agent);
      this.#drainedPolls = status.draining && status.queue.messages === 0 ? this.#drainedPolls + 1 : 0;
      this.#status = status;
      this.#silent = 0;
    } catch {
      this.#silent += 1;
      if (this.#silent >= SILENT) this.#status = undefined;
    }
    if (this.#over) return;
    const eager = performance.now() < this.#eagerUntilMs || this.#drainedPolls === 1 || this.#stopping;
    this.#ask(eager ? EAGER_MS : STEADY_MS);
    if (!isDeepStrictEqual(before, { status: this.#status, drained: this.drained })) this.#changed();
  }

  #end(): Promise<ReplicaEnd> {
    const { promise, resolve } = Promise.withResolvers<ReplicaEnd>();
    const over = (end: ReplicaEnd): void => {
      if (this.#over) return;
      this.#over = true;
      clearTimeout(this.#poll);
      clearTimeout(this.#kill);
      this.#agent.destroy();
      resolve(end);
    };
    this.#child.once('error', (error) => {
      // It also tells of a signal that could not be sent: then there is a process, and its end is still to come.
      if (this.#child.pid === undefined) over({ how: `could not be started: ${error.message}`, orderly: false });
    });
    this.#child.once('exit', (code, signal) => {
      over({
        how: signal === null ? `ended with code ${code}` : `was ended by ${signal}`,
        orderly: this.#stopping && signal !== 'SIGKILL',
      });
    });
    return promise;
  }
}

function start({ program, ordinal, config, spool, references, admin, monitoring }: ReplicaLaunch): ChildProcess {
  const [command, ...first] = program;
  const given = [
    ...['--config', config, '--spool', spool, '--references', references, '--ordinal', String(ordinal)],
    ...['--admin', admin, '--monitoring', monitoring, '--monitoring-offset', String(ordinal), '--supervised'],
  ];
  const env = Object.fromEntries(ENVIRONMENT.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
  return spawn(command, [...first, 'relay', ...given], {
    // Its log lines go out as they are. By the channel it is handed sockets, and sees it close: the kernel closes it when
    // this process is killed.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env,
    cwd: spool,
    // A process group of its own: Ctrl-C at a terminal reaches the supervisor alone, and it ends the replicas.
    detached: true,
  });
}
