/**
 * A running `chasqui relay` for tests: the real program on a config folder that the operator's code writes, and a spool
 * that outlives its processes. It takes mail of example.test from this machine without AUTH, signs it with both keys,
 * and sends all of it to one destination.
 *
 * ```ts
 * await using relay = await RelayProcess.start(destination.port);
 * await relay.kill();
 * await relay.run();
 * ```
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { replicaStatus } from '../../cli/admin-client.ts';
import type { SmtpRelaySpec } from '../../crds/smtprelay.ts';
import { writeConfig } from '../../operator/backends/host/config-folder.ts';
import { domainDocument, judgeKeys } from '../../operator/maildomain/dkim-keys.ts';
import { makeCA, makeServerCertificate } from '../../operator/smtprelay/pki.ts';
import { relayGroup } from '../../operator/smtprelay/relay-group.ts';
import { type CertificateDocument, INDEX, type IndexDocument, SETTINGS } from '../../relay/config/documents.ts';
import { SELF_SIGNED } from './certificate.ts';
import { firstKeys } from './dkim-keys.ts';
import * as manifests from './manifests.ts';
import { CHASQUI } from './program.ts';
import { freePorts } from './standalone.ts';

/** Where a client connects from to be a sender of its own. */
export const OTHER_SENDER = '127.0.0.99';
/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 30_000;
const LOOK_MS = 20;

/** How replicas reach each other: as on one machine, or as pods do, at an address each with a certificate for it. */
export type Peering = 'unix sockets' | 'TLS';
/** What replica N of those that reach each other by TLS has for its admin API. */
export const adminHost = (ordinal: number | string): string => `127.0.1.${ordinal}`;

/** A line of the log; only what tests look at. */
export interface RelayLine {
  readonly message?: string;
  readonly event?: string;
  readonly queueId?: string;
  readonly problem?: string;
  readonly recipient?: string;
  readonly reply?: { readonly code: number; readonly enhanced?: string; readonly text: string };
  readonly attempts?: number;
  readonly ageMs?: number;
  readonly dsn?: string;
  readonly hash?: string;
  readonly time?: string;
}

/** From the start of a process to its end. */
class Life {
  readonly lines: RelayLine[] = [];
  readonly logged = new EventEmitter().setMaxListeners(0);
  readonly child: ChildProcess;
  /** Resolves with exit code and signal, once all that the process has written is read. */
  readonly over: Promise<readonly [code: number | null, signal: string | null]>;

  constructor(command: string, words: readonly string[]) {
    // File system calls through io_uring would be seen by no trace.
    const env = { ...process.env, UV_USE_IO_URING: '0' };
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'], env });
    this.child = child;
    const closed = once(child, 'close');
    const read = this.#read(child.stdout);
    this.over = Promise.all([closed, read]).then(([[code, signal]]) => {
      // Who waits for a line is to see that none will come.
      this.logged.emit('line');
      return [code, signal];
    });
  }

  async #read(out: Readable): Promise<void> {
    let rest = '';
    for await (const text of out.setEncoding('utf8')) {
      const lines = `${rest}${text}`.split('\n');
      // The last words of a killed process may end within a line: such a line is not out.
      rest = lines.pop() ?? '';
      for (const line of lines) this.lines.push(JSON.parse(line));
      this.logged.emit('line');
    }
  }
}

export class RelayProcess implements AsyncDisposable {
  /** Where it takes mail. */
  readonly port: number;
  readonly spool: string;
  /** Port of metrics and readiness, at 127.0.0.1. */
  readonly monitoring: number;
  /** IP address. */
  readonly host: string;
  readonly #root: string;
  readonly #ordinal: number;
  /** Port of the admin API; undefined: only the socket has it. */
  readonly #adminPort: number | undefined;
  readonly #lives: Life[] = [];

  private constructor(root: string, port: number, monitoring: number, ordinal = 0, adminPort?: number) {
    this.#adminPort = adminPort;
    this.monitoring = monitoring;
    this.#root = root;
    this.#ordinal = ordinal;
    this.spool = join(root, ordinal === 0 ? 'spool' : `spool-${ordinal}`);
    this.port = port;
    this.host = `127.0.0.${ordinal + 1}`;
  }

  /**
   * @param wrap a command that runs the relay, such as a tracer
   * @param delivery where mail goes, and when, in place of all of it to the destination
   */
  static async start(
    destinationPort: number,
    wrap: readonly string[] = [],
    delivery: Partial<SmtpRelaySpec['delivery']> = {},
  ): Promise<RelayProcess> {
    const root = await mkdtemp(join(tmpdir(), 'relay-'));
    const [port = 0, monitoring = 0] = await freePorts(2);
    await writeRelayConfig(join(root, 'config'), { port, monitoring }, destinationPort, delivery);
    const relay = new RelayProcess(root, port, monitoring);
    await relay.run(wrap);
    return relay;
  }

  /**
   * Replicas on one config, at the same port of an address each. The first one is for the caller to dispose of last: the
   * folder that they share goes with it.
   */
  static async replicas(
    count: number,
    destinationPort: number,
    wrap: readonly string[] = [],
    peering: Peering = 'unix sockets',
  ): Promise<readonly RelayProcess[]> {
    const root = await mkdtemp(join(tmpdir(), 'relay-'));
    const [port = 0, monitoring = 0, adminPort = 0] = await freePorts(3);
    const ca = await makeCA('Replicas of a test', Date.now());
    const names = Array.from({ length: count }, (_, ordinal) => adminHost(ordinal));
    const { certificate: chain, key } = await makeServerCertificate(ca, names, Date.now());
    const group =
      peering === 'TLS'
        ? {
            peers: { host: adminHost('{ordinal}'), port: adminPort, ca: ca.certificate },
            certificate: { chain, key },
          }
        : { peers: { socket: join(root, 'admin-{ordinal}.sock') } };
    await writeRelayConfig(join(root, 'config'), { port, monitoring }, destinationPort, {}, { count, ...group });
    const replicas = Array.from(
      { length: count },
      (_, ordinal) => new RelayProcess(root, port, monitoring, ordinal, peering === 'TLS' ? adminPort : undefined),
    );
    const token = randomBytes(32).toString('hex');
    for (const replica of replicas) {
      await mkdir(replica.tokens, { mode: 0o700 });
      await writeFile(join(replica.tokens, 'view'), `view-${token}`, { mode: 0o600 });
      await writeFile(join(replica.tokens, 'operate'), token, { mode: 0o600 });
    }
    await Promise.all(replicas.map((replica) => replica.run(wrap)));
    return replicas;
  }

  get config(): string {
    return join(this.#root, 'config');
  }

  /** Folder of the files `view` and `operate`, for the admin API over TLS. */
  get tokens(): string {
    return join(this.#root, `tokens-${this.#ordinal}`);
  }

  token(role: 'view' | 'operate'): string {
    return readFileSync(join(this.tokens, role), 'utf8');
  }

  /** Where the config says that replicas find each other. */
  get peers(): IndexDocument['peers'] {
    return this.#index().peers;
  }

  /** Puts another number of replicas in force, for all that share the config. */
  setReplicas(replicas: number): void {
    this.setIndex({ replicas });
  }

  /** Tells all that share the config that they find each other elsewhere than before. */
  setPeers(peers: NonNullable<IndexDocument['peers']>): void {
    this.setIndex({ peers });
  }

  #index(): IndexDocument {
    return JSON.parse(readFileSync(join(this.config, INDEX), 'utf8'));
  }

  /** Puts fields of the index in force, also such as no operator writes yet. */
  setIndex(change: object): void {
    const file = join(this.config, INDEX);
    writeFileSync(`${file}.new`, JSON.stringify({ ...this.#index(), ...change }));
    renameSync(`${file}.new`, file);
  }

  /** Puts these listeners in force in place of the one that it began with; each takes mail of this machine in clear. */
  setListeners(
    listeners: readonly { readonly name: string; readonly protocol: string; readonly port: number }[],
  ): void {
    const open = listeners.map((listener) => ({ ...listener, tls: 'Optional', exemptNetworks: ['127.0.0.0/8'] }));
    this.setDocument(SETTINGS, { listeners: open });
  }

  /** Puts fields of a document in force, in place of those that it had. */
  setDocument(name: string, fields: object): void {
    const folder = this.config;
    const documents = new Map(readdirSync(folder).map((each) => [each, readFileSync(join(folder, each), 'utf8')]));
    const former: object = JSON.parse(documents.get(name) ?? '{}');
    const text = JSON.stringify({ ...former, ...fields });
    const sha256 = createHash('sha256').update(text).digest('hex');
    const { documents: hashes, ...index } = this.#index();
    documents.set(name, text);
    documents.set(INDEX, JSON.stringify({ ...index, documents: { ...hashes, [name]: sha256 } }));
    writeConfig(folder, documents);
  }

  get admin(): string {
    return join(this.#root, `admin-${this.#ordinal}.sock`);
  }

  /** Starts a process on the spool as it is; resolves when it takes mail. */
  async run(wrap: readonly string[] = [], options: readonly string[] = []): Promise<void> {
    const [command = CHASQUI, ...words] = [
      ...wrap,
      ...[CHASQUI, 'relay', '--config', this.config, '--spool', this.spool],
      ...['--ordinal', String(this.#ordinal), '--listen-address', this.host, '--admin', this.admin],
      ...['--monitoring', this.host, ...this.#adminOptions(), ...options],
    ];
    this.#lives.push(new Life(command, words));
    await this.logged('the relay has started', (line) => line.message === 'relay started');
  }

  #adminOptions(): readonly string[] {
    if (this.#adminPort === undefined) return [];
    const [view, operate] = [join(this.tokens, 'view'), join(this.tokens, 'operate')];
    return [
      ...['--admin-listen', `${adminHost(this.#ordinal)}:${this.#adminPort}`],
      ...['--admin-view-token', view, '--admin-operate-token', operate],
    ];
  }

  /** Number of processes so far. */
  get life(): number {
    return this.#lives.length;
  }

  /** What the process of a life has logged, of the last one if none is named; lives count from 1. */
  lines(life = this.life): readonly RelayLine[] {
    return this.#life(life).lines;
  }

  /** Resolves once this life has logged a line, or `count` of them. */
  async logged(what: string, is: (line: RelayLine) => boolean, count = 1): Promise<void> {
    const { lines, logged, child } = this.#life();
    const signal = AbortSignal.timeout(WAIT_MS);
    while (lines.filter(is).length < count) {
      const last = () => lines.slice(-20).map((line) => JSON.stringify(line));
      assert.ok(child.exitCode === null && child.signalCode === null, [`ended before: ${what}`, ...last()].join('\n'));
      await once(logged, 'line', { signal }).catch(() => assert.fail([`never came: ${what}`, ...last()].join('\n')));
    }
  }

  /** Resolves once the queue is empty. */
  async untilEmpty(): Promise<void> {
    const deadline = performance.now() + WAIT_MS;
    for (;;) {
      const { queue } = await replicaStatus(this.admin);
      if (queue.messages === 0) return;
      assert.ok(performance.now() < deadline, `there are still ${queue.messages} messages in the queue`);
      await pause(LOOK_MS);
    }
  }

  /** Sends SIGTERM to the process itself, not to what wraps it. */
  terminate(): void {
    const pid = this.#pid();
    assert.ok(pid !== undefined, 'the relay has ended');
    process.kill(pid, 'SIGTERM');
  }

  /** The signal is sent before this returns; resolves once all that the process has logged is read. */
  async kill(): Promise<void> {
    const { child, over } = this.#life();
    child.kill('SIGKILL');
    assert.deepEqual(await over, [null, 'SIGKILL']);
  }

  /** Resolves once the process has ended by the SIGKILL that it was told to send itself. */
  async killedByItself(): Promise<void> {
    assert.deepEqual(await this.#life().over, [null, 'SIGKILL']);
  }

  /** Resolves with the exit code once the process has ended by itself. */
  async ended(): Promise<number | null> {
    const [code] = await this.#life().over;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { child, over } = this.#life();
    if (child.exitCode === null && child.signalCode === null) {
      const pid = this.#pid();
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await over;
    }
    if (this.#ordinal === 0) await rm(this.#root, { recursive: true, force: true });
  }

  #life(number = this.life): Life {
    const life = this.#lives[number - 1];
    assert.ok(life, `there was no life ${number}`);
    return life;
  }

  /** Most memory that the process had so far, bytes (proc(5), VmHWM). */
  get peakMemory(): number {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.#pid()}/status`, 'utf8')) ?? [];
    return Number(kib) * 1024;
  }

  /** Of the process itself, not of what wraps it. */
  get pid(): number | undefined {
    return this.#pid();
  }

  #pid(): number | undefined {
    const { child } = this.#life();
    if (!child.spawnfile.endsWith('strace')) return child.pid;
    // A tracer does not hand on the signals that it gets itself.
    const [pid] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ');
    return pid ? Number(pid) : undefined;
  }
}

/** The config folder as the operator writes it. */
export async function writeRelayConfig(
  folder: string,
  { port, monitoring }: { readonly port: number; readonly monitoring: number },
  destinationPort: number,
  delivery: Partial<SmtpRelaySpec['delivery']> = {},
  group: {
    readonly count: number;
    readonly peers?: NonNullable<IndexDocument['peers']>;
    readonly certificate?: CertificateDocument;
  } = { count: 1 },
): Promise<void> {
  const domain = manifests.domain('example-test');
  const { ready } = judgeKeys(domain, await firstKeys(domain));
  assert.equal(ready.length, 2);
  const relay = manifests.relay('outbound', {
    replicas: group.count,
    listeners: [
      {
        ...{ name: 'local', protocol: 'Submission', port, tls: 'Optional' },
        // A client at the first one is another sender than those at all other addresses.
        ...{ auth: { exemptNetworks: [`${OTHER_SENDER}/32`, '127.0.0.0/8'] }, proxyProtocol: { from: [] } },
      },
    ],
    delivery: {
      routes: [
        {
          match: { domains: ['*'] },
          smarthosts: [{ host: '127.0.0.1', port: destinationPort, tls: { mode: 'Disabled' } }],
        },
      ],
      direct: { resolvers: [], port: 25 },
      retry: { schedule: ['1s'], expireAfter: '10m' },
      destinations: [],
      suspended: false,
      ...delivery,
    },
    monitoring: { port: monitoring },
  });
  const { documents } = relayGroup({
    relay,
    certificate: group.certificate ?? { chain: SELF_SIGNED.cert, key: SELF_SIGNED.key },
    domains: [domainDocument(domain, ready)],
    users: [],
    bindPort: (bound) => bound,
    ...(group.peers && { peers: group.peers }),
  });
  writeConfig(folder, documents);
}
