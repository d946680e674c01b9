/** The host backend: what the operator needs of the world, made of files and processes of one machine. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, NAMESPACE_NAME } from '../../backend.ts';
import { SETTLE_MS } from './admission.ts';
import { makeFolder } from './durable-file.ts';
import { LoggedEvents } from './events.ts';
import { FolderWatch } from './folder-watch.ts';
import { type Lock, lockState } from './lock.ts';
import type { Log } from './log.ts';
import { ManifestSource } from './manifest-source.ts';
import { Ports } from './ports.ts';
import { HostRelays } from './relays.ts';
import { SecretFiles } from './secrets.ts';
import { ObjectStore } from './store.ts';

/** How long replicas may take to end, and how long those of a former process are waited for (ms). */
export const GRACE_MS = 15_000;

/** A file that never comes to rest must not keep the others from being taken in. */
const FIRST_LOOKS = 4;

export interface HostOptions {
  /** Folder of manifests, absolute. */
  readonly manifests: string;
  /** DIR, absolute. */
  readonly state: string;
  /** IP address that listeners are bound to instead of all addresses. */
  readonly listenAddress?: string;
  /** Whether an empty or missing folder deletes what it no longer holds. */
  readonly allowEmpty: boolean;
  /** Program and first arguments that end in the command `relay`. */
  readonly program: readonly [string, ...string[]];
  readonly log: Log;
  /** Ends the waiting of a start that is no longer wanted. */
  readonly stop: AbortSignal;
}

export interface HostBackend extends Backend {
  /** Ends the replicas at once, while `stop` waits for them. */
  kill(): void;
}

/**
 * Takes the state folder and reads what is in force.
 * @throws {StateLocked} when another process holds the folder
 */
export function openHost({
  manifests,
  state,
  listenAddress,
  allowEmpty,
  program,
  log,
  stop,
}: HostOptions): HostBackend {
  makeFolder(state);
  const lock = lockState(state);
  try {
    const nowMs = Date.now;
    const objects = new ObjectStore(path.join(state, 'objects'), nowMs);
    const secrets = new SecretFiles(path.join(state, 'secrets'));
    const relays = new HostRelays(state, {
      ports: new Ports(listenAddress),
      program,
      graceMs: GRACE_MS,
      log,
      nowMs,
    });
    const source = new ManifestSource({
      folder: manifests,
      state,
      allowEmpty,
      store: objects,
      log,
      monotonicMs: () => performance.now(),
    });
    return assemble({ manifests, objects, secrets, relays, source, log, lock, stop });
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface Parts {
  readonly manifests: string;
  readonly objects: ObjectStore;
  readonly secrets: SecretFiles;
  readonly relays: HostRelays;
  readonly source: ManifestSource;
  readonly log: Log;
  readonly lock: Lock;
  readonly stop: AbortSignal;
}

function assemble({ manifests, objects, secrets, relays, source, log, lock, stop }: Parts): HostBackend {
  const look = async (): Promise<number | undefined> => {
    try {
      return await source.look();
    } catch (err) {
      // Such as a full disk: what is in force stays in force.
      log.error({ err }, 'the manifests could not be taken in, will be tried again');
      return undefined;
    }
  };
  const watch = new FolderWatch(manifests, look);
  return {
    objects,
    secrets,
    relays,
    events: new LoggedEvents(log, Date.now, (kind, key) => objects.fileOf(kind, key)),
    // On one machine a namespace is a name, and no more.
    namespaces: { labels: (name) => ({ [NAMESPACE_NAME]: name }), watch: () => undefined },
    issuesCertificates: false,
    submissionHost: () => 'localhost',
    serviceNames: () => ['localhost', '127.0.0.1', '::1'],
    bindPort: (port) => port,
    start: async () => {
      await relays.start(stop);
      // What is taken must have stood still, at the start too.
      for (let looks = 0; looks < FIRST_LOOKS && (await look()) === SETTLE_MS; looks++) await sleep(SETTLE_MS);
      watch.start();
    },
    stop: async () => {
      await watch.stop();
      await relays.stop();
      secrets.close();
      lock.release();
    },
    kill: () => relays.kill(),
  };
}
