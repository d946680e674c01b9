/** Keeps the replicas of one relay as they are wanted: a level loop that decides anew at every piece of news. */
import type { Socket } from 'node:net';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { RelayReplica } from '../../backend.ts';
import { DrainProgress } from '../../runtime/drain-progress.ts';
import { type ConfigFacts, drainAll, removeConfig, writeConfig } from './config-folder.ts';
import { Drains, spooledOrdinals } from './drains.ts';
import { makeFolder } from './durable-file.ts';
import type { Log } from './log.ts';
import type { Ports } from './ports.ts';
import { type Hindrance, RelayPorts } from './relay-ports.ts';
import { Replica, type ReplicaEnd } from './replica.ts';
import { replicaView } from './replica-view.ts';
import { decide, restartDelayMs, type Slot, STABLE_MS, type Step } from './supervision.ts';

/** Where the things of one relay are, all absolute. */
export interface RelayPlaces {
  /** DIR/config/NAMESPACE/NAME */
  readonly config: string;
  /** DIR/spool/NAMESPACE/NAME */
  readonly spool: string;
  /** DIR/secrets/NAMESPACE */
  readonly references: string;
  /** DIR/run */
  readonly run: string;
}

/** What all relays of this machine share. */
export interface Machine {
  readonly ports: Ports;
  /** Program and first arguments that end in the command `relay`. */
  readonly program: readonly [string, ...string[]];
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
const FAILED_AGAIN_MS = 1_000;

export const adminSocket = (run: string, { namespace, name }: ObjectKey, ordinal: number | '{ordinal}'): string =>
  path.join(run, `${namespace}.${name}-${ordinal}.sock`);

interface Running {
  readonly replica: Replica;
  readonly startedMs: number;
}

interface Place {
  running?: Running;
  /** Ends in a row that nobody asked for, and how the last one was. */
  failures: number;
  how?: string;
  startAfterMs: number;
  queued?: boolean;
  /** Its last process ended as it was told, with nothing in the spool. */
  emptied: boolean;
  /** While it is not wanted. */
  progress?: DrainProgress;
}

export class RelaySupervisor {
  readonly #key: ObjectKey;
  readonly #ports: RelayPorts;
  readonly #places: RelayPlaces;
  readonly #machine: Machine;
  readonly #changed: () => void;
  readonly #drains: Drains;
  readonly #ordinals = new Map<number, Place>();
  #wanted: WantedRelay;
  #hindrance: Hindrance | undefined;
  #timer: NodeJS.Timeout | undefined;
  #told: readonly RelayReplica[] = [];
  #ending = false;

  /** @param changed called when `observe` tells something else than before */
  constructor(key: ObjectKey, places: RelayPlaces, wanted: WantedRelay, machine: Machine, changed: () => void) {
    this.#key = { namespace: key.namespace, name: key.name };
    this.#ports = new RelayPorts(machine.ports, `${key.namespace}/${key.name}`, machine.log);
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
    this.#ports.keepOnly();
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

  /** Whether each queue was seen empty by a replica that goes by the config, or is of one that ended so. */
  isEmpty(configHash: string): boolean {
    return [...this.#ordinals].every(([ordinal, { running, queued }]) => {
      const status = running?.replica.status;
      if (running) return status?.configHash === configHash && status.queue.messages === 0;
      const drain = this.#drains.of(ordinal);
      return !this.#wantedHere(ordinal) && drain?.stopped === true && (queued ?? drain.queued) === false;
    });
  }

  #observed(ordinal: number): RelayReplica {
    const { running, how, failures, queued: last, progress } = this.#placeOf(ordinal);
    const stuck = progress?.stuck(this.#machine.nowMs());
    const drain = this.#drains.of(ordinal);
    const queued = last ?? drain?.queued;
    const status = running?.replica.status;
    return replicaView({
      ordinal,
      wanted: this.#wantedHere(ordinal),
      failures,
      stopped: drain?.stopped === true,
      ...(how !== undefined && { how }),
      ...(queued !== undefined && { queued }),
      ...(stuck !== undefined && { stuck }),
      ...(this.#hindrance && { hindrance: this.#hindrance }),
      ...(running && {
        process: {
          ...(status && { status }),
          stopping: running.replica.stopping,
          lacksPort: this.#wanted.listeners.some(({ port }) => !running.replica.ports.has(port)),
        },
      }),
    });
  }

  /** Such as a full disk must not end the supervisor of all relays. */
  #level(): void {
    if (this.#ending) return;
    clearTimeout(this.#timer);
    try {
      this.#again(this.#levelNow(this.#machine.nowMs()));
    } catch (err) {
      this.#machine.log.error({ ...this.#key, err }, 'replicas could not be brought to what is wanted');
      this.#again(FAILED_AGAIN_MS);
    }
    this.#tell();
  }

  #again(inMs: number | undefined): void {
    // Longer timers than 2^31 ms fire at once.
    if (inMs !== undefined) this.#timer = setTimeout(() => this.#level(), Math.min(Math.max(inMs, 0), 2 ** 31 - 1));
  }

  /** Returns when to decide again without any news (ms). */
  #levelNow(nowMs: number): number | undefined {
    for (let ordinal = 0; ordinal < this.#wanted.replicas; ordinal++) this.#placeOf(ordinal);
    const needed = this.#portsNeeded() ? this.#wanted.listeners.map(({ port }) => port) : [];
    this.#hindrance = this.#pathProblem() ?? this.#ports.bind(needed, nowMs);
    const wanted = { ...this.#wanted, portsBound: this.#hindrance === undefined };
    const { steps, againMs } = decide(wanted, this.#slots(), nowMs);
    for (const step of steps) this.#take(step, nowMs);
    this.#ports.keepOnly(needed, ...this.#running().map(({ replica }) => replica.ports));
    const { retryAtMs } = this.#ports;
    const looks = [...this.#ordinals.values()].map(({ progress }) => progress?.againMs(nowMs));
    const times = [againMs, retryAtMs === undefined ? undefined : retryAtMs - nowMs, ...looks].filter(
      (ms) => ms !== undefined,
    );
    return times.length > 0 ? Math.min(...times) : undefined;
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
    const { program, log } = this.#machine;
    const spool = path.join(this.#places.spool, String(ordinal));
    makeFolder(spool);
    const launch = {
      program,
      ordinal,
      config: this.#places.config,
      spool,
      references: this.#places.references,
      admin: this.#socketOf(ordinal),
      monitoring: MONITORING_ADDRESS,
      socket: (port: number) => this.#socketFor(port),
    };
    const replica = new Replica(launch, () => this.#news(ordinal));
    const running: Running = { replica, startedMs: nowMs };
    place.running = running;
    place.emptied = false;
    log.info({ ...this.#key, ordinal, pid: replica.pid }, 'replica started');
    void replica.ended.then((end) => this.#ended(ordinal, running, end));
  }

  #news(ordinal: number): void {
    const place = this.#placeOf(ordinal);
    const status = place.running?.replica.status;
    if (status) place.queued = status.queue.messages > 0;
    if (this.#wantedHere(ordinal)) delete place.progress;
    else if (status) {
      place.progress ??= new DrainProgress();
      place.progress.note(status.queue.messages, status.handover?.problem, this.#machine.nowMs());
    }
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
      // A session that was open when it was told to end may have left a message: then it is drained once more.
      place.emptied = place.queued === false;
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

  #slots(): readonly Slot[] {
    return [...this.#ordinals].map(([ordinal, { running, startAfterMs, emptied }]) => {
      const drain = this.#drains.of(ordinal);
      return {
        ordinal,
        startAfterMs,
        emptied,
        ...(drain && { drain }),
        ...(running && {
          process: {
            drained: running.replica.drained,
            stopping: running.replica.stopping,
          },
        }),
      };
    });
  }

  /** Of ports that the config names, and no others: a replica may be slow to see that one is gone. */
  #socketFor(port: number): Socket {
    if (this.#wanted.listeners.some((listener) => listener.port === port)) return this.#ports.socket(port);
    throw new Error(`port ${port} is no longer wanted`);
  }

  #socketOf(ordinal: number): string {
    return adminSocket(this.#places.run, this.#key, ordinal);
  }

  #placeOf(ordinal: number): Place {
    const place = this.#ordinals.get(ordinal) ?? { failures: 0, startAfterMs: 0, emptied: false };
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
