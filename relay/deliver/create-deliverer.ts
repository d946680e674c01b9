/** Puts delivery together: scheduler, attempts, connections, DNS. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConfigSource } from '../config/config.ts';
import type { Observer } from '../observe/events.ts';
import type { Signer } from '../sign/signer.ts';
import type { SpawnedMessage, Spool } from '../spool/spool.ts';
import { TIMEOUTS, type Timeouts } from './connection.ts';
import type { Deliverer, Failed } from './deliverer.ts';
import { deliver } from './delivery.ts';
import { createDns, type Dns } from './dns.ts';
import { Message, selectorsOf } from './message.ts';
import { Pool } from './pool.ts';
import { Scheduler } from './scheduler.ts';

export interface DelivererOptions {
  readonly config: ConfigSource;
  readonly spool: Spool;
  readonly signer: Signer;
  readonly observer: Observer;
  /** The notice to the sender; undefined where none is due (null sender, NOTIFY). */
  readonly report: (failed: Failed) => SpawnedMessage | undefined;
  readonly dns?: Dns;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly timeouts?: Timeouts;
}

/** After the connections are cut, attempts need only note what they know. */
const CUT_MS = 1_000;

export function createDeliverer({
  config,
  spool,
  signer,
  observer,
  report,
  dns = resolverOf(config),
  now = Date.now,
  random = Math.random,
  timeouts = TIMEOUTS,
}: DelivererOptions): Deliverer {
  const pool = new Pool(timeouts);
  let halted = false;
  const context = {
    config,
    dns,
    pool,
    random,
    halted: () => halted,
    spool,
    observer,
    now,
    report,
    onSpawned: (accepted: Parameters<Deliverer['enqueue']>[0]) => scheduler.add(accepted),
  };
  const scheduler: Scheduler = new Scheduler({
    spool,
    observer,
    now,
    deliver: (delivery, message) => deliver(context, delivery, message),
    message: (of) =>
      new Message(of, {
        spool,
        signer,
        onSigned: (signature) =>
          observer.message({
            event: 'signed',
            queueId: of.queueId,
            domain: of.envelope.signAs ?? '',
            selectors: selectorsOf(signature),
          }),
      }),
  });

  return {
    start: () => scheduler.sweep(),
    enqueue: (accepted) => scheduler.add(accepted),
    async stop(graceMs) {
      const ended = scheduler.stop();
      const grace = new AbortController();
      await Promise.race([ended, quiet(sleep(graceMs, undefined, { signal: grace.signal }))]);
      halted = true;
      // A final dot without an answer may or may not have been taken: nothing is recorded, and the message is sent
      // again after the restart, since twice is better than not at all (RFC 1047).
      pool.cut();
      dns.close();
      await Promise.race([ended, quiet(sleep(CUT_MS, undefined, { signal: grace.signal }))]);
      grace.abort();
      pool.close();
    },
  };
}

/** The resolvers in settings; main may share them with the RCPT check of receive. */
export const resolverOf = (config: ConfigSource): Dns =>
  createDns(() => config.current().settings.delivery.direct.resolvers);

const quiet = (promise: Promise<unknown>): Promise<unknown> => promise.catch(() => undefined);
