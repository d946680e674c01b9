/** Keeps the replicas of one relay as they are wanted: a level loop that decides anew at every piece of news. */
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { RelayReplica } from '../../backend.ts';
import { type ConfigFacts, drainAll, removeConfig, writeConfig } from './config-folder.ts';
import { Drains, spooledOrdinals } from './drains.ts';
import { makeFolder } from './durable-file.ts';
import type { Log } from './log.ts';
import { PortProblem, type Ports } from './ports.ts';
import { Replica, type ReplicaEnd } from './replica.ts';
import { decide, restartDelayMs, type Slot, STABLE_MS, type Step } from './supervision.ts';

/** Where the things of one relay are, all absolute. */
export interface RelayPlaces {
  /** DIR/config/NAMESPACE/NAME */
  readonly config: string;
  /** DIR/spool/NAMESPACE/NAME */
  readonly spool: string;
  /** DIR/run */
  readonly run: string;
}

/** What all relays of this machine share. */
export interface Machine {
  readonly ports: Ports;
  /** Program and first arguments that end in the command `relay`. */
  readonly program: readonly [string, ...string[]];
  readonly listenAddress?: string;
  /** How long a replica may take to end (ms). */
  readonly graceMs: number;
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/** What should run. */
export interface WantedRelay extends ConfigFacts {
  readonly replicas: number;
  readonly drainTimeoutMs: number;
}

/** sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included. */
const SOCKET_PATH_LIMIT_BYTES = process.platform === 'darwin' ? 103 : 107;
const MONITORING_ADDRESS = '127.0.0.1';

interface Running {
  readonly replica: Replica;
  readonly signature: string;
  readonly ports: readonly number[];
  readonly startedMs: number;
}

interface Place {
  running?: Running;
  /** Ends in a row that nobody asked for, and how the last one was. */
  failures: number;
  how?: string;
  startAfterMs: number;
  queued?: boolean;
}

type Hindrance = NonNullable<RelayReplica['problem']>;

export class RelaySupervisor {
  readonly #key: ObjectKey;
  readonly #holder: string;
  readonly #places: RelayPlaces;
  readonly #machine: Machine;
  readonly #changed: () => void;
  readonly #drains: Drains;
  readonly #ordinals = new Map<number, Place>();
  #wanted: WantedRelay;
  #hindrance: Hindrance | undefined;
  #bindFailures = 0;
  #bindAfterMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #told: readonly RelayReplica[] = [];
  #ending = false;

  /** @param changed called when `observe` tells something else than before */
  constructor(key: ObjectKey, places: RelayPlaces, wanted: WantedRelay, machine: Machine, changed: () => void) {
    this.#key = { namespace: key.namespace, name: key.name };
    this.#holder = `${key.namespace}/${key.name}`;
    this.#places = places;
    this.#machine = machine;
    this.#changed = changed;
    this.#wanted = wanted;
    this.#drains = new Drains(places.spool);
    for (const ordinal of spooledOrdinals(places.spool)) this.#placeOf(ordinal);
  }

  /** Puts a config in force and sees that the wanted replicas run. */
  apply(wanted: WantedRelay, documents: ReadonlyMap<string, string>): void {
    const news = writeConfig(this.#places.config, documents);
    this.#wanted = wanted;
    if (news) this.#expectNews();
    this.#level();
  }

  /** Drains and ends all replicas; true once none is left and the config is removed. */
  remove(drainTimeoutMs: number): boolean {
    if (this.#wanted.replicas > 0) this.#expectNews();
    drainAll(this.#places.config);
    this.#wanted = { ...this.#wanted, replicas: 0, drainTimeoutMs };
    this.#level();
    const left = [...this.#ordinals].some(
      ([ordinal, { running }]) => running || this.#drains.of(ordinal)?.stopped !== true,
    );
    if (left) return false;
    for (const { ordinal, queued } of this.observe()) {
      if (queued === false) continue;
      const spool = path.join(this.#places.spool, String(ordinal));
      this.#machine.log.warn({ ...this.#key, ordinal, spool }, 'the spool is kept: it may hold mail');
    }
    removeConfig(this.#places.config);
    return true;
  }

  /** Ends all replicas; their spools wait for the next start. Resolves once no process is left. */
  async stop(): Promise<void> {
    this.#ending = true;
    clearTimeout(this.#timer);
    const running = this.#running();
    for (const { replica } of running) replica.terminate(this.#machine.graceMs);
    const ends = await Promise.all(running.map(async ({ replica }) => ({ replica, end: await replica.ended })));
    for (const { replica, end } of ends) {
      if (end.orderly) continue;
      this.#machine.log.warn({ ...this.#key, ordinal: replica.ordinal }, `replica did not end in time: ${end.how}`);
    }
    this.#machine.ports.keepOnly(new Set(), this.#holder);
  }

  /** Ends all replicas at once; the queue is safe, what is in hand is tried again. */
  kill(): void {
    for (const { replica } of this.#running()) replica.kill();
  }

  observe(): readonly RelayReplica[] {
    return [...this.#ordinals.keys()]
      .filter(
        (ordinal) => this.#wantedHere(ordinal) || this.#ordinals.get(ordinal)?.running || this.#drains.of(ordinal),
      )
      .sort((a, b) => a - b)
      .map((ordinal) => this.#observed(ordinal));
  }

  #observed(ordinal: number): RelayReplica {
    const { running, how, failures, queued } = this.#placeOf(ordinal);
    const status = running?.replica.status;
    const state = this.#stateOf(ordinal);
    // What a wanted replica holds changes all the time: its own metrics tell of it.
    const told = this.#wantedHere(ordinal) ? undefined : (queued ?? this.#drains.of(ordinal)?.queued);
    const outdated = this.#wantedHere(ordinal) && running?.signature !== this.#signature();
    const failed = !running && failures > 0 && state !== 'Stopped';
    const problem =
      (outdated ? this.#hindrance : undefined) ??
      (failed ? { reason: 'ReplicaFailed', message: `replica ${ordinal} ${how}; it is started again` } : undefined);
    return {
      ordinal,
      state,
      rejected: status?.rejected ?? [],
      ...(status && { version: status.version, configHash: status.configHash }),
      ...(told !== undefined && { queued: told }),
      ...(problem && { problem }),
    };
  }

  #stateOf(ordinal: number): RelayReplica['state'] {
    const { running, failures } = this.#placeOf(ordinal);
    if (!this.#wantedHere(ordinal)) return !running && this.#drains.of(ordinal)?.stopped ? 'Stopped' : 'Draining';
    const status = running?.replica.status;
    if (!running || !status) return failures > 0 || running?.replica.stopping ? 'Unready' : 'Starting';
    if (status.draining) return 'Draining';
    return status.ready && !running.replica.stopping ? 'Ready' : 'Unready';
  }

  #level(): void {
    if (this.#ending) return;
    const nowMs = this.#machine.nowMs();
    for (let ordinal = 0; ordinal < this.#wanted.replicas; ordinal++) this.#placeOf(ordinal);
    const portsBound = this.#bindPorts(nowMs);
    const signature = this.#signature();
    const wanted = { ...this.#wanted, signature, portsBound };
    const { steps, againMs } = decide(wanted, this.#slots(), nowMs);
    for (const step of steps) this.#take(step, nowMs);
    this.#machine.ports.keepOnly(this.#usedPorts(), this.#holder);

    clearTimeout(this.#timer);
    const bindInMs = this.#hindrance && this.#bindAfterMs > 0 ? this.#bindAfterMs - nowMs : undefined;
    const inMs = Math.min(againMs ?? Number.POSITIVE_INFINITY, bindInMs ?? Number.POSITIVE_INFINITY);
    // Longer timers than 2^31 ms fire at once.
    if (Number.isFinite(inMs)) this.#timer = setTimeout(() => this.#level(), Math.min(Math.max(inMs, 0), 2 ** 31 - 1));
    this.#tell();
  }

  #take({ step, ordinal }: Step, nowMs: number): void {
    const { log, graceMs } = this.#machine;
    const drain = this.#drains.of(ordinal);
    const place = this.#placeOf(ordinal);
    switch (step) {
      case 'start':
        this.#start(ordinal, place, nowMs);
        break;
      case 'terminate':
        log.info({ ...this.#key, ordinal, pid: place.running?.replica.pid }, 'replica is told to end');
        place.running?.replica.terminate(graceMs);
        break;
      case 'drain':
        this.#drains.set({ ordinal, sinceMs: nowMs, stopped: false });
        log.info({ ...this.#key, ordinal }, 'replica is no longer wanted and drains');
        break;
      case 'resume':
        this.#drains.delete(ordinal);
        break;
      case 'settle':
        this.#settle(ordinal, drain?.sinceMs ?? nowMs, place.queued);
        break;
    }
  }

  #start(ordinal: number, place: Place, nowMs: number): void {
    const { program, listenAddress, log, ports } = this.#machine;
    const spool = path.join(this.#places.spool, String(ordinal));
    makeFolder(spool);
    const { listeners, monitoringPort } = this.#wanted;
    const launch = {
      program,
      ordinal,
      config: this.#places.config,
      spool,
      admin: this.#socketOf(ordinal),
      monitoring: `${MONITORING_ADDRESS}:${monitoringPort + ordinal}`,
      ...(listenAddress !== undefined && { listenAddress }),
      listeners: listeners.map(({ name, port }) => ({ name, fd: ports.bind(port, this.#holder).fd })),
    };
    const replica = new Replica(launch, () => this.#news(ordinal));
    const running: Running = {
      replica,
      signature: this.#signature(),
      ports: listeners.map(({ port }) => port),
      startedMs: nowMs,
    };
    place.running = running;
    log.info({ ...this.#key, ordinal, pid: replica.pid }, 'replica started');
    void replica.ended.then((end) => this.#ended(ordinal, running, end));
  }

  #news(ordinal: number): void {
    const place = this.#placeOf(ordinal);
    const status = place.running?.replica.status;
    if (status) place.queued = status.queue.messages > 0;
    this.#level();
  }

  #ended(ordinal: number, { replica, startedMs }: Running, { how, orderly }: ReplicaEnd): void {
    const place = this.#placeOf(ordinal);
    delete place.running;
    if (this.#ending) return;
    const nowMs = this.#machine.nowMs();
    const fields = { ...this.#key, ordinal, pid: replica.pid };
    if (replica.stopping) {
      place.failures = 0;
      place.startAfterMs = 0;
      this.#machine.log[orderly ? 'info' : 'warn'](fields, `replica ${how}`);
      const drain = this.#drains.of(ordinal);
      // A session that was open when it was told to end may have left a message: then it is drained once more.
      const timeIsOver = drain !== undefined && nowMs - drain.sinceMs >= this.#wanted.drainTimeoutMs;
      if (drain && (timeIsOver || place.queued === false)) this.#settle(ordinal, drain.sinceMs, place.queued);
    } else {
      place.failures = nowMs - startedMs >= STABLE_MS ? 1 : place.failures + 1;
      place.how = how;
      const retryMs = restartDelayMs(place.failures);
      place.startAfterMs = nowMs + retryMs;
      this.#machine.log.error({ ...fields, retryMs }, `replica ${how}, it is started again`);
    }
    this.#level();
  }

  #settle(ordinal: number, sinceMs: number, queued: boolean | undefined): void {
    this.#drains.set({ ordinal, sinceMs, stopped: true, ...(queued !== undefined && { queued }) });
    const fields = { ...this.#key, ordinal, queued };
    if (queued === false) this.#machine.log.info(fields, 'replica is drained and has ended');
    else
      this.#machine.log.warn(fields, 'replica has ended with mail in its spool: raise replicas to have it delivered');
  }

  /** Whether all listeners' ports are bound and replicas can be started; what hinders is kept for `observe`. */
  #bindPorts(nowMs: number): boolean {
    if (!this.#portsNeeded()) {
      this.#hindrance = undefined;
      return false;
    }
    this.#hindrance = this.#pathProblem();
    if (this.#hindrance) return false;
    try {
      for (const { port } of this.#wanted.listeners) this.#machine.ports.bind(port, this.#holder);
      this.#bindFailures = 0;
      this.#bindAfterMs = 0;
      return true;
    } catch (error) {
      if (!(error instanceof PortProblem)) throw error;
      this.#hindrance = { reason: error.reason, message: error.message };
      if (nowMs >= this.#bindAfterMs) {
        this.#bindFailures += 1;
        const retryMs = restartDelayMs(this.#bindFailures + 1);
        this.#bindAfterMs = nowMs + retryMs;
        this.#machine.log.warn({ ...this.#key, reason: error.reason, retryMs }, error.message);
      }
      return false;
    }
  }

  #portsNeeded(): boolean {
    const draining = ([ordinal, { running }]: [number, Place]): boolean =>
      running !== undefined || this.#drains.of(ordinal)?.stopped !== true;
    return this.#wanted.replicas > 0 || [...this.#ordinals].some(draining);
  }

  #pathProblem(): Hindrance | undefined {
    const longest = this.#socketOf(Math.max(this.#wanted.replicas - 1, 0, ...this.#ordinals.keys()));
    const over = Buffer.byteLength(longest) - SOCKET_PATH_LIMIT_BYTES;
    if (over <= 0) return undefined;
    const message = `the admin socket ${longest} is ${over} bytes too long for this system: choose a shorter --state or name`;
    return { reason: 'StatePathTooLong', message };
  }

  #usedPorts(): Set<number> {
    const wanted = this.#portsNeeded() ? this.#wanted.listeners.map(({ port }) => port) : [];
    return new Set([...wanted, ...this.#running().flatMap(({ ports }) => ports)]);
  }

  #slots(): readonly Slot[] {
    return [...this.#ordinals].map(([ordinal, { running, startAfterMs }]) => {
      const drain = this.#drains.of(ordinal);
      return {
        ordinal,
        startAfterMs,
        ...(drain && { drain }),
        ...(running && {
          process: {
            signature: running.signature,
            ready: running.replica.status?.ready === true,
            drained: running.replica.drained,
            stopping: running.replica.stopping,
          },
        }),
      };
    });
  }

  /** What a process is given at its start: another one is needed when it changes. */
  #signature(): string {
    const { listeners, monitoringPort } = this.#wanted;
    return JSON.stringify([monitoringPort, ...listeners.map(({ name, port }) => `${name}=${port}`).sort()]);
  }

  #socketOf(ordinal: number): string {
    return path.join(this.#places.run, `${this.#key.namespace}.${this.#key.name}-${ordinal}.sock`);
  }

  #placeOf(ordinal: number): Place {
    const place = this.#ordinals.get(ordinal) ?? { failures: 0, startAfterMs: 0 };
    this.#ordinals.set(ordinal, place);
    return place;
  }

  #wantedHere(ordinal: number): boolean {
    return ordinal < this.#wanted.replicas;
  }

  #running(): readonly Running[] {
    return [...this.#ordinals.values()].flatMap(({ running }) => (running ? [running] : []));
  }

  #expectNews(): void {
    for (const { replica } of this.#running()) replica.expectNews();
  }

  #tell(): void {
    const now = this.observe();
    if (isDeepStrictEqual(now, this.#told)) return;
    this.#told = now;
    this.#changed();
  }
}
