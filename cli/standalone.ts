/** Runs the operator's controllers on this machine, until it is told to stop. */
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { pino } from 'pino';
import { type HostBackend, openHost } from '../operator/backends/host/host.ts';
import { StateLocked } from '../operator/backends/host/lock.ts';
import { CONTROLLERS } from '../operator/controllers.ts';
import { dnsChecker } from '../operator/dns/checker.ts';
import { runControllers } from '../operator/runtime/run-controllers.ts';
import { Failure } from './failure.ts';

export interface StandaloneOptions {
  /** Folder of manifests. */
  readonly filename: string;
  /** State folder. */
  readonly state: string;
  /** IP address that listeners are bound to instead of all addresses. */
  readonly listenAddress?: string;
  readonly allowEmpty: boolean;
  /** IP or IP:PORT of resolvers that must have a record for it to be published; none: the zone's own name servers. */
  readonly dnsResolvers: readonly string[];
}

/**
 * Resolves after SIGTERM or SIGINT, once every replica has ended. A second signal ends the replicas at once.
 * @throws {Failure} when the state folder is held by another process
 */
export async function standalone({
  filename,
  state,
  listenAddress,
  allowEmpty,
  dnsResolvers,
}: StandaloneOptions): Promise<void> {
  if (listenAddress !== undefined && isIP(listenAddress) === 0) {
    throw new Failure(`--listen-address takes an IP address, not ${listenAddress}`);
  }
  // Whatever this process and its replicas write is for their user alone.
  process.umask(0o077);
  const log = createLog();
  const stop = new AbortController();
  const backend = open({
    manifests: resolve(filename),
    state: resolve(state),
    allowEmpty,
    ...(listenAddress !== undefined && { listenAddress }),
    program: [process.execPath, ...process.execArgv, ownProgram()],
    log,
    stop: stop.signal,
  });
  const stopped = untilStopped(stop, backend);
  log.info({ manifests: resolve(filename), state: resolve(state), pid: process.pid }, 'standalone starts');
  const dns = dnsChecker(dnsResolvers);
  const operator = await runControllers(backend, CONTROLLERS, Date.now, log, dns);
  await stopped;
  dns.stop();
  log.info({}, 'standalone stops: replicas finish what is in hand');
  await operator.stop();
  log.info({}, 'standalone stopped');
}

function open(options: Parameters<typeof openHost>[0]): HostBackend {
  try {
    return openHost(options);
  } catch (error) {
    if (error instanceof StateLocked) throw new Failure(error.message);
    throw error;
  }
}

function untilStopped(stop: AbortController, backend: HostBackend): Promise<void> {
  const { promise, resolve: stopped } = Promise.withResolvers<void>();
  const onSignal = (): void => {
    if (stop.signal.aborted) backend.kill();
    stop.abort();
    stopped();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return promise;
}

/** Replicas run the program that this process runs. */
function ownProgram(): string {
  const [, program] = process.argv;
  if (program === undefined) throw new Failure('standalone must be run as a program');
  return program;
}

/** Lines of the same form as the replicas', which go to the same place. */
const createLog = (): pino.Logger =>
  pino(
    {
      base: {},
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    process.stdout,
  );
