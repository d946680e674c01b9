/** Runs the operator's controllers on a Kubernetes API, until it is told to stop or loses its lease. */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { ListenOptions } from 'node:net';
import { hostname } from 'node:os';
import { type Logger, pino } from 'pino';
import { Client } from '../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../operator/backends/kubernetes/connection.ts';
import { KubernetesBackend } from '../operator/backends/kubernetes/kubernetes.ts';
import { leaseStore } from '../operator/backends/kubernetes/leases.ts';
import { CONTROLLERS } from '../operator/controllers.ts';
import { dnsChecker } from '../operator/dns/checker.ts';
import { LEASE_NAME, type OperatorMetrics, operatorMetrics } from '../operator/metrics.ts';
import { Election, LEASE_TIMES, writeTimeoutMs } from '../operator/runtime/lease.ts';
import { runControllers } from '../operator/runtime/run-controllers.ts';
import manifest from '../package.json' with { type: 'json' };
import { monitoringListener, serveHttp } from '../relay/observe/http.ts';
import { Failure } from './failure.ts';
import { stopSignal } from './stop.ts';

export interface OperatorOptions {
  readonly kubeconfig?: string;
  readonly namespaces?: readonly string[];
  readonly relayNamespaces?: readonly string[];
  readonly relayImage: string;
  readonly dnsResolvers: readonly string[];
  readonly leaderElect: boolean;
  readonly leaderElectionNamespace?: string;
  /** Undefined: not served. */
  readonly metricsBindAddress?: ListenOptions;
  readonly healthProbeBindAddress?: ListenOptions;
  readonly logLevel: string;
}

/** Where a pod is told which namespace it is in. */
const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';
/** Once the lease is lost, whatever hangs is given so long (ms): another leads then. */
const LAST_MS = 5_000;

/**
 * Resolves after SIGTERM or SIGINT, once what was in hand is done and the lease is given back.
 * @throws {Failure} when no API server can be made out, an address is taken, or the lease was lost
 */
export async function operator(options: OperatorOptions): Promise<void> {
  const log = createLog(options.logLevel);
  const stop = stopSignal();
  const instance = `${hostname()}_${randomUUID()}`;
  const ownNamespace = existsSync(NAMESPACE_FILE) ? readFileSync(NAMESPACE_FILE, 'utf8').trim() : undefined;
  const connection = await connected(options.kubeconfig);
  let metrics: OperatorMetrics | undefined;
  const client = new Client({
    connection,
    userAgent: `chasqui-operator/${manifest.version} (${instance})`,
    writeTimeoutMs: writeTimeoutMs(LEASE_TIMES),
    mayWrite: () => election?.mayWrite(),
    answered: (answer) => metrics?.request(answer),
  });
  const leaseKey = { namespace: options.leaderElectionNamespace ?? ownNamespace ?? 'default', name: LEASE_NAME };
  const election: Election | undefined = options.leaderElect
    ? new Election({
        store: leaseStore(client.with({ mayWrite: () => election?.mayWriteLease() }), leaseKey),
        identity: instance,
        failed: (err) => log.warn({ err, lease: leaseKey }, 'the lease could not be read or written'),
      })
    : undefined;
  const backend = new KubernetesBackend({
    ...{ api: client, instance, log, relayImage: options.relayImage, operatorNamespace: ownNamespace },
    namespaces: options.namespaces,
    relayNamespaces: options.relayNamespaces ?? options.namespaces,
  });
  metrics = operatorMetrics({
    objects: backend.objects,
    keptKeys: () => backend.keptKeys(),
    leading: () => election?.leading ?? true,
    nowMs: Date.now,
    elapsedMs: () => performance.now(),
  });
  await using open = new AsyncDisposableStack();
  open.defer(() => connection.close());
  for (const server of await served(options, metrics, backend, log)) open.defer(() => server.close());
  log.info({ instance, server: connection.server.href, version: manifest.version }, 'operator starts');
  await run({ backend, election, metrics, log, stop, dnsResolvers: options.dnsResolvers });
  log.info({}, 'operator stopped');
}

interface Parts {
  readonly backend: KubernetesBackend;
  readonly election: Election | undefined;
  readonly metrics: OperatorMetrics;
  readonly log: Logger;
  readonly stop: AbortSignal;
  readonly dnsResolvers: readonly string[];
}

async function run({ backend, election, metrics, log, stop, dnsResolvers }: Parts): Promise<void> {
  const dns = dnsChecker(dnsResolvers);
  const campaign = async (): Promise<boolean> => {
    log.info({}, 'all was read');
    if (!election) return true;
    const won = await election.campaign();
    if (won) log.info({}, 'this process leads');
    return won;
  };
  let started = false;
  const running = runControllers(backend, CONTROLLERS, Date.now, log, dns, { campaign, meter: metrics.queue });
  const failed = running.then(() => {
    started = true;
    return new Promise<never>(() => undefined);
  });
  const lost = election ? election.lost.then(() => 'Lost' as const) : new Promise<never>(() => undefined);
  const outcome = await Promise.race([aborted(stop), lost, failed]);
  dns.stop();
  if (outcome === 'Lost') {
    setTimeout(() => process.exit(1), LAST_MS).unref();
    await (await running).stop();
    throw new Failure('the lease was lost: another operator leads; this one must be started again');
  }
  log.info({}, 'operator stops');
  if (started) {
    await (await running).stop();
    await election?.release();
    return;
  }
  await election?.release();
  await backend.stop();
  // It was stopped before all was read, or before it led.
  await running.catch(() => undefined);
}

function aborted(signal: AbortSignal): Promise<'Stopped'> {
  const { promise, resolve } = Promise.withResolvers<'Stopped'>();
  signal.addEventListener('abort', () => resolve('Stopped'), { once: true });
  if (signal.aborted) resolve('Stopped');
  return promise;
}

async function connected(kubeconfig: string | undefined): Promise<Connection> {
  try {
    return await connect(kubeconfig);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure(`no API server to work on: ${why}; see --kubeconfig`);
  }
}

type Server = Awaited<ReturnType<typeof serveHttp>>;

async function served(
  { metricsBindAddress, healthProbeBindAddress }: OperatorOptions,
  metrics: OperatorMetrics,
  backend: KubernetesBackend,
  log: Logger,
): Promise<readonly Server[]> {
  const plain = (code: number, text: string) => ({ code, type: 'text/plain; charset=utf-8', text: `${text}\n` });
  const problem = (err: unknown): void => log.error({ err }, 'a request for metrics or health failed');
  const serve = (where: ListenOptions | undefined, answer: Parameters<typeof monitoringListener>[0]) =>
    where ? [serveHttp(where, monitoringListener(answer, problem), problem)] : [];
  try {
    return await Promise.all([
      ...serve(metricsBindAddress, async (path) =>
        path === '/metrics' ? { code: 200, ...(await metrics.page()) } : plain(404, 'here is /metrics'),
      ),
      ...serve(healthProbeBindAddress, async (path) => {
        if (path === '/healthz') return plain(200, 'ok');
        if (path !== '/readyz') return plain(404, 'here are /healthz and /readyz');
        const { hindrances } = backend;
        return hindrances.length === 0 ? plain(200, 'ok') : plain(503, hindrances.join('; '));
      }),
    ]);
  } catch (error) {
    throw new Failure(`cannot serve metrics or health: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const createLog = (level: string): Logger =>
  pino(
    {
      level,
      base: {},
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    process.stdout,
  );
