/** A relay replica: what is wired to what, and in which order it starts and stops. */
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import packageJson from '../package.json' with { type: 'json' };
import { Actions } from './admin/actions.ts';
import { type NetworkFace, serveAdmin } from './admin/faces.ts';
import { adminRoutes } from './admin/routes.ts';
import type { ReplicaStatus } from './admin/status.ts';
import type { SettingsDocument } from './config/documents.ts';
import { openConfig } from './config/live-config.ts';
import { createDeliverer } from './deliver/create-deliverer.ts';
import { createDns } from './deliver/dns.ts';
import { Message } from './deliver/message.ts';
import { hasNullMx } from './deliver/mx.ts';
import { createRouter } from './deliver/router.ts';
import { TIMEOUTS, type Timeouts } from './deliver/timeouts.ts';
import { handoverRoutes } from './handover/peer.ts';
import { Source } from './handover/source.ts';
import type { OnStep } from './handover/steps.ts';
import type { Observer } from './observe/events.ts';
import { monitoringHandler } from './observe/http.ts';
import { createLog } from './observe/log.ts';
import { createMetrics } from './observe/metrics.ts';
import { serveMonitoring } from './observe/monitoring.ts';
import { Accepting } from './receive/accepting.ts';
import { Quotas } from './receive/quotas.ts';
import { createReceiver } from './receive/receiver.ts';
import { createDsn } from './report/create-dsn.ts';
import { createSigner } from './sign/dkim.ts';
import { openSpool } from './spool/open.ts';
import type { IntakeBounds } from './spool/spool.ts';

export interface RelayOptions {
  readonly configFolder: string;
  readonly spoolFolder: string;
  readonly ordinal: number;
  /** Address that listeners bind which are not inherited. */
  readonly listenAddress?: string;
  /** Listener name to inherited file descriptors of one socket, see receive/accepting.ts. */
  readonly inherit: ReadonlyMap<string, readonly number[]>;
  readonly adminSocket: string;
  /** Where the admin API is served under TLS too, by tokens. */
  readonly adminNetwork?: NetworkFace;
  /** Address to serve monitoring at, and what is added to the port that the config names. */
  readonly monitoring: { readonly host: string; readonly offset: number };
  /** Stop as on SIGTERM when the IPC channel to the supervisor closes. */
  readonly supervised: boolean;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** How long destinations are waited for. */
  readonly timeouts?: Timeouts;
  /** Told after each step of a hand-over. */
  readonly onHandoverStep?: OnStep;
}

/** Within the 15 s that a supervisor waits before it kills; a kill would lose nothing but what was in hand. */
const GRACE_MS = 10_000;
/** A predecessor may still be finishing what it has in hand. */
const LOCK_WAIT_MS = 15_000;
const NULL_MX_WAIT_MS = 2_000;

/**
 * How much what is outside of the nursery may grow before all of the heap is collected. By itself V8 allows a heap of
 * 20 MiB some 8 MiB, and counts bodies of messages in: it then collects at every 90th message of 100 KiB, which takes a
 * quarter of the CPU time, for 3 MiB of garbage. The peak of memory was the same with either.
 */
const HEAP_GROWTH = '--heap-growing-percent=200';

/**
 * Runs until SIGTERM, SIGINT, or the end of a supervisor. Resolves when everything is closed. Where it cannot start, or
 * fails, it ends the process: what was begun would keep it alive, and nobody would start another one.
 */
export async function runRelay(options: RelayOptions): Promise<void> {
  const log = createLog({ replica: options.ordinal }, process.stdout);
  try {
    await run(options, log);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    log.log('error', 'the relay failed, this process ends', { problem });
    process.exit(70);
  }
}

async function run(options: RelayOptions, log: Observer): Promise<void> {
  setFlagsFromString(HEAP_GROWTH);
  const { ordinal, now = Date.now, timeouts = TIMEOUTS } = options;
  const stopped = stopRequest(options.supervised);
  await mkdir(options.spoolFolder, { recursive: true, mode: 0o700 });

  const spool = await openSpool({
    folder: options.spoolFolder,
    lockWaitMs: LOCK_WAIT_MS,
    log: log.log,
    // Whether the disk has what was written is unknown now; only a new process that reads it again can tell.
    onFatal: (error) => {
      log.log('error', 'the spool failed, this process ends', { problem: error.message });
      process.exit(70);
    },
    now,
  });
  const config = await openConfig(options.configFolder, options.spoolFolder, log);
  const bound = () => spool.bound(intakeBounds(config.current().settings));
  bound();
  config.onChange(bound);
  const metrics = createMetrics(spool, now);
  const observer = both(log, metrics.observer);
  const router = createRouter(config);
  const dns = createDns(() => config.current().settings.delivery.direct.resolvers, timeouts.dns);
  const signer = createSigner(config);
  const report = createDsn(config, router);
  const deliverer = createDeliverer({
    config,
    spool,
    observer,
    dns,
    signer,
    report,
    now,
    random: Math.random,
    timeouts,
  });
  const receiver = createReceiver({
    config,
    spool,
    observer,
    quotas: new Quotas(await spool.usage(), ordinal, now),
    router,
    nullMx: (domain) => hasNullMx(dns, domain, NULL_MX_WAIT_MS),
    onAccepted: (accepted) => deliverer.enqueue(accepted),
    now,
    delay: (ms) => setTimeout(ms, undefined, { ref: false }),
    ordinal,
  });

  const onStep = options.onHandoverStep ?? (() => undefined);
  const handover = new Source({
    ...{ ordinal, config, spool, deliverer, observer, onStep },
    transport: (peer) => {
      const socket = config.current().peers?.socket;
      return socket === undefined ? undefined : { socketPath: socket.replace('{ordinal}', String(peer)) };
    },
  });

  let stopping = false;
  let listening = false;
  const status = async (): Promise<ReplicaStatus> => {
    const current = config.current();
    const { hindrance } = spool.health();
    // No reason to be unready: an unready pod holds up every rollout, here for as long as its mail waits. Clients are
    // kept off by the greeting, 421, and by the operator, which decides whom they are sent to.
    const draining = ordinal >= current.replicas;
    const reasons = [
      ...(listening ? [] : ['not listening yet']),
      ...(stopping ? ['stopping'] : []),
      // A full queue is no reason: its clients are told 452, and it is emptied by itself.
      ...(hindrance === undefined || hindrance.kind === 'full' ? [] : [hindrance.problem]),
      ...(monitoring.problem === undefined ? [] : [monitoring.problem]),
    ];
    return {
      ordinal,
      version: packageJson.version,
      configHash: current.hash,
      rejected: [...current.rejected],
      ready: reasons.length === 0,
      draining,
      queue: await spool.stats(),
      ...(handover.problem !== undefined && { handover: { problem: handover.problem } }),
      reasons,
    };
  };
  const handler = monitoringHandler(metrics, status);
  const monitoring = serveMonitoring({
    host: options.monitoring.host,
    // Replicas that share a machine need a port each.
    port: () => config.current().settings.monitoring.port + options.monitoring.offset,
    onChange: (listener) => config.onChange(listener),
    handler,
    observer: log,
  });
  const takes = () => ordinal < config.current().replicas;
  const actions = new Actions({
    spool,
    deliverer,
    observer,
    report,
    message: (of) => new Message(of, { spool, signer, signed() {} }),
    now,
  });
  const routes = adminRoutes({
    ...{ spool, status, config, actions, now },
    others: handoverRoutes({ spool, takes, wakeAt: (dueMs) => deliverer.wakeAt(dueMs), observer, onStep }),
  });
  const admin = await serveAdmin({
    socket: options.adminSocket,
    ...(options.adminNetwork && { network: options.adminNetwork }),
    routes,
    config,
    log: log.log,
  });

  await deliverer.start();
  const accepting = new Accepting({ ...options, config, receiver, observer: log });
  await accepting.start();
  listening = true;
  handover.start();
  log.log('info', 'relay started', {
    version: packageJson.version,
    spool: spool.spoolId,
    config: config.current().hash,
  });

  const reason = await stopped;
  stopping = true;
  log.log('info', 'relay stops: finishing what is in hand', { reason });
  await accepting.stop();
  await Promise.all([receiver.stop(GRACE_MS), deliverer.stop(GRACE_MS), handover.stop()]);
  config.close();
  await spool.close();
  await Promise.all([admin.close(), monitoring.close()]);
  log.log('info', 'relay stopped');
  // The channel to the supervisor would keep the process alive.
  if (process.connected) process.disconnect?.();
}

const intakeBounds = ({ queue }: SettingsDocument): IntakeBounds =>
  queue ?? { minFreeBytes: 0, maxMessages: Number.POSITIVE_INFINITY };

/** Resolves with the reason to stop. */
async function stopRequest(supervised: boolean): Promise<string> {
  const requests = [once(process, 'SIGTERM').then(() => 'SIGTERM'), once(process, 'SIGINT').then(() => 'SIGINT')];
  if (supervised) requests.push(once(process, 'disconnect').then(() => 'the supervisor is gone'));
  return Promise.race(requests);
}

const both = (log: Observer, metrics: Observer): Observer => ({
  message(event) {
    log.message(event);
    metrics.message(event);
  },
  session(event) {
    log.session(event);
    metrics.session(event);
  },
  log: log.log,
});
