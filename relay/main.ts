/** A relay replica: what is wired to what, and in which order it starts and stops. */
import { mkdir } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import packageJson from '../package.json' with { type: 'json' };
import { Actions } from './admin/actions.ts';
import { serveAdmin } from './admin/faces.ts';
import { adminRoutes } from './admin/routes.ts';
import { replicaStatus } from './admin/status.ts';
import { openConfig } from './config/live-config.ts';
import { createDeliverer } from './deliver/create-deliverer.ts';
import { createDns } from './deliver/dns.ts';
import { Message } from './deliver/message.ts';
import { hasNullMx } from './deliver/mx.ts';
import { createRouter } from './deliver/router.ts';
import { TIMEOUTS } from './deliver/timeouts.ts';
import { handoverRoutes } from './handover/peer.ts';
import { Source } from './handover/source.ts';
import { createTransport } from './handover/transport.ts';
import { boundHeapByQueue } from './heap.ts';
import { both } from './observe/both.ts';
import type { Observer } from './observe/events.ts';
import { monitoringHandler } from './observe/http.ts';
import { createLog } from './observe/log.ts';
import { createMetrics } from './observe/metrics.ts';
import { serveMonitoring } from './observe/monitoring.ts';
import type { RelayOptions } from './options.ts';
import { Accepting } from './receive/accepting.ts';
import { Quotas } from './receive/quotas.ts';
import { createReceiver } from './receive/receiver.ts';
import { HandedSockets, ownSockets } from './receive/sockets.ts';
import { createDsn } from './report/create-dsn.ts';
import { createSigner } from './sign/dkim.ts';
import { openSpool } from './spool/open.ts';
import type { IntakeBounds } from './spool/spool.ts';
import { stopRequest } from './stop-request.ts';

/** Within the 15 s that a supervisor waits before it kills; a kill would lose nothing but what was in hand. */
const GRACE_MS = 10_000;
/** A predecessor may still be finishing what it has in hand. */
const LOCK_WAIT_MS = 15_000;
const NULL_MX_WAIT_MS = 2_000;
/** Configs of operators that do not know of bounds yet. */
const UNBOUNDED: IntakeBounds = { minFreeBytes: 0, maxMessages: Number.POSITIVE_INFINITY };

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
  boundHeapByQueue(spool);
  const config = await openConfig(options.configFolder, options.spoolFolder, log);
  const bound = () => spool.bound(config.current().settings.queue ?? UNBOUNDED);
  bound();
  config.onChange(bound);
  const metrics = createMetrics({ spool, config, now });
  const observer = both(log, metrics.observer);
  const router = createRouter(config);
  const resolvers = () => config.current().settings.delivery.direct.resolvers;
  const dns = createDns(resolvers, timeouts.dns, metrics.lookup);
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
    references: options.referencesFolder,
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
  const tokenFile = options.adminNetwork?.tokens.operate;
  const handover = new Source({
    ...{ ordinal, config, spool, deliverer, observer, onStep },
    transport: createTransport({ config, ...(tokenFile !== undefined && { tokenFile }) }),
  });

  const sockets = options.supervised ? new HandedSockets(process) : ownSockets(options.listenAddress);
  const accepting = new Accepting({ ordinal, config, receiver, observer: log, sockets });
  const phase = { listening: false, stopping: false };
  const status = () => replicaStatus({ ordinal, config, spool, receiver, handover, monitoring, accepting, phase });
  const monitoring = serveMonitoring({
    host: options.monitoring.host,
    // Replicas that share a machine need a port each.
    port: () => config.current().settings.monitoring.port + options.monitoring.offset,
    onChange: (listener) => config.onChange(listener),
    handler: monitoringHandler(metrics, status),
    observer: log,
  });
  const takes = () => ordinal < config.current().replicas && spool.health().hindrance === undefined;
  const actions = new Actions({
    spool,
    deliverer,
    observer,
    report,
    message: (of) => new Message(of, { spool, signer, signed() {} }),
    answering: () => handover.answering,
    now,
  });
  const routes = adminRoutes({
    ...{ spool, status, config, actions, now },
    others: handoverRoutes({ ordinal, spool, takes, wakeAt: (dueMs) => deliverer.wakeAt(dueMs), observer, onStep }),
  });
  const admin = await serveAdmin({
    socket: options.adminSocket,
    ...(options.adminNetwork && { network: options.adminNetwork }),
    routes,
    config,
    log: log.log,
  });

  // Not waited for: a long queue must not keep new mail out.
  void deliverer.start();
  void actions.resume();
  await accepting.start();
  phase.listening = true;
  handover.start();
  log.log('info', 'relay started', {
    version: packageJson.version,
    spool: spool.spoolId,
    config: config.current().hash,
  });

  const reason = await stopped;
  phase.stopping = true;
  const acceptMs = options.acceptAfterStopMs ?? 0;
  if (acceptMs > 0) {
    log.log('info', 'relay is about to stop: unready, and still taking connections', { reason, acceptMs });
    await setTimeout(acceptMs);
  }
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
