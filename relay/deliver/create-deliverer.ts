/** Puts delivery together: scheduler, attempts, connections, DNS. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfigSource } from '../config/config.ts';
import type { Observer } from '../observe/events.ts';
import type { Signer } from '../sign/signer.ts';
import type { SpawnedMessage, Spool } from '../spool/spool.ts';
import { ClockSteps } from './clock-steps.ts';
import type { Deliverer, Failed } from './deliverer.ts';
import { deliver } from './delivery.ts';
import { DestinationLimits } from './destination-limits.ts';
import type { Dns } from './dns.ts';
import { Message, selectorsOf } from './message.ts';
import { Pool } from './pool.ts';
import { requeue } from './requeue.ts';
import { Scheduler } from './scheduler.ts';
import { SCHEDULER_LIMITS, type SchedulerLimits } from './scheduler-limits.ts';
import { TIMEOUTS, type Timeouts } from './timeouts.ts';

export interface DelivererOptions {
  readonly config: ConfigSource;
  readonly spool: Spool;
  readonly signer: Signer;
  readonly observer: Observer;
  /** The notice to the sender; undefined where none is due (null sender, NOTIFY). */
  readonly report: (failed: Failed) => SpawnedMessage | undefined;
  readonly dns: Dns;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Milliseconds since some moment, by a clock that nobody sets. */
  readonly steady?: () => number;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly timeouts?: Timeouts;
  /** See AttemptContext; by default none is there. */
  readonly references?: string;
  readonly limits?: SchedulerLimits;
}

/** After the connections are cut, attempts need only note what they know. */
const CUT_MS = 1_000;

export function createDeliverer({
  config,
  spool,
  signer,
  observer,
  report,
  dns,
  now = Date.now,
  steady = () => performance.now(),
  random = Math.random,
  timeouts = TIMEOUTS,
  references = '/nonexistent',
  limits = SCHEDULER_LIMITS,
}: DelivererOptions): Deliverer {
  const pool = new Pool(timeouts, (event) => observer.host(event));
  const destinationLimits = new DestinationLimits(config, steady);
  const ending = new AbortController();
  let halted = false;
  const context = {
    config,
    dns,
    pool,
    random,
    halted: () => halted,
    timeouts,
    references,
    spool,
    observer,
    now,
    report,
    limits: destinationLimits,
    onSpawned: (accepted: Parameters<Deliverer['enqueue']>[0]) => scheduler.add(accepted),
  };
  const signed = (queueId: string, domain: string, signature: Buffer): void =>
    observer.message({ event: 'signed', queueId, domain, selectors: selectorsOf(signature) });
  const longestWaitMs = (): number => Math.max(...config.current().settings.delivery.retry.scheduleMs);
  const steps = new ClockSteps({ spool, observer, now, steady, longestWaitMs });
  const scheduler: Scheduler = new Scheduler(
    {
      spool,
      observer,
      suspended: () => config.current().settings.delivery.suspended === true,
      followClock: () => steps.follow(),
      now,
      limitOf: (destination) => destinationLimits.expected(destination),
      deliver: (held, lease) => deliver(context, held, lease),
      message: (of) => new Message(of, { spool, signer, signed }),
    },
    limits,
  );

  const unsubscribe = config.onChange(() => {
    destinationLimits.follow();
    scheduler.resume();
  });
  return {
    async start() {
      await scheduler.sweep();
      void requeue({ spool, observer, signal: ending.signal, found: () => void scheduler.sweep() });
    },
    enqueue: (accepted) => scheduler.add(accepted),
    reserve: (message, take) => scheduler.reserve(message, take),
    gone: (deliveries) => scheduler.gone(deliveries),
    letGo: (deliveries) => scheduler.letGo(deliveries),
    wakeAt: (dueMs) => scheduler.wakeAt(dueMs),
    withdraw: (selections) => scheduler.withdraw(selections),
    async stop(graceMs) {
      unsubscribe();
      ending.abort();
      const ended = scheduler.stop();
      await within(graceMs, ended);
      // A final dot without an answer may or may not have been taken: nothing is recorded, and the message is sent
      // again after the restart, since twice is better than not at all (RFC 1047).
      halted = true;
      pool.cut();
      dns.close();
      await within(CUT_MS, ended);
    },
  };
}

async function within(ms: number, promise: Promise<void>): Promise<void> {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([promise, late]);
  timer.abort();
}
