/** Test support: a backend in memory that keeps the contract of `operator/backend.ts`, and writes down every write. */
import { isDeepStrictEqual } from 'node:util';
import type { KindTypes } from '../../crds/kinds.ts';
import { type KindName, keyOf, type ObjectKey } from '../../crds/resource.ts';
import {
  type Backend,
  NAMESPACE_NAME,
  type OperatorEvent,
  type Reference,
  type RelayGroup,
  type RelayReplica,
  type Secret,
  SecretConflict,
  type SecretOwner,
} from '../../operator/backend.ts';
import type { DnsChecker } from '../../operator/dns/checker.ts';
import { ownership } from '../../operator/runtime/ownership.ts';

type AnyObject = KindTypes[KindName];

const idOf = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;

export class MemoryBackend implements Backend {
  /** One line per write, such as `create Secret default/app-smtp`. */
  readonly writes: string[] = [];
  readonly emitted: OperatorEvent[] = [];
  readonly groups = new Map<string, RelayGroup>();
  readonly replicas = new Map<string, readonly RelayReplica[]>();
  /** Thrown by the next write of that line. */
  readonly failures = new Map<string, Error>();
  /** What `remove` answers, by relay. */
  readonly drained = new Set<string>();
  readonly stored = new Map<string, Secret>();
  /** Secrets of users' own, by NAMESPACE/NAME. */
  readonly references = new Map<string, Reference>();
  readonly #objects = new Map<string, AnyObject>();
  readonly #objectListeners: ((kind: KindName, key: ObjectKey) => void)[] = [];
  readonly #secretListeners: ((namespace: string, name: string) => void)[] = [];
  readonly #relayListeners: ((key: ObjectKey) => void)[] = [];
  readonly #namespaceListeners: ((name: string) => void)[] = [];
  readonly #labels = new Map<string, Readonly<Record<string, string>>>();
  started = false;
  /** Resolve to let `start` end. */
  sync: Promise<void> = Promise.resolve();

  async start(): Promise<void> {
    await this.sync;
    this.started = true;
  }

  async stop(): Promise<void> {
    this.started = false;
  }

  /** Puts an object in place, as an accepted manifest does. */
  put(object: AnyObject): void {
    this.#objects.set(`${object.kind}/${keyOf(object)}`, object);
    this.#objectChanged(object.kind, object.metadata);
  }

  /** Takes an object away, at once. */
  take(kind: KindName, key: ObjectKey): void {
    this.#objects.delete(`${kind}/${idOf(key)}`);
    this.#objectChanged(kind, key);
  }

  /** Sets what the replicas of a relay report. */
  report(relay: ObjectKey, replicas: readonly RelayReplica[]): void {
    this.replicas.set(idOf(relay), replicas);
    for (const listener of this.#relayListeners) listener(relay);
  }

  #objectChanged(kind: KindName, { namespace, name }: ObjectKey): void {
    for (const listener of this.#objectListeners) listener(kind, { namespace, name });
  }

  #write(line: string): void {
    this.writes.push(line);
    const failure = this.failures.get(line);
    this.failures.delete(line);
    if (failure) throw failure;
  }

  #secretChanged(namespace: string, name: string): void {
    for (const listener of this.#secretListeners) listener(namespace, name);
  }

  readonly objects: Backend['objects'] = {
    list: <Kind extends KindName>(kind: Kind) =>
      [...this.#objects.values()].filter((object): object is KindTypes[Kind] => object.kind === kind),
    get: <Kind extends KindName>(kind: Kind, key: ObjectKey) =>
      this.objects.list(kind).find(({ metadata }) => idOf(metadata) === idOf(key)),
    watch: (listener) => void this.#objectListeners.push(listener),
    patchStatus: async (kind, key, status) => {
      this.#write(`patch status of ${kind} ${idOf(key)}`);
      const object = this.objects.get(kind, key);
      if (object) this.put({ ...object, status });
    },
    setFinalizer: async (kind, key, present) => {
      this.#write(`${present ? 'add' : 'remove'} finalizer of ${kind} ${idOf(key)}`);
      const object = this.objects.get(kind, key);
      if (!object) return;
      if (!present && object.metadata.deletionTimestamp !== undefined) this.take(kind, key);
      else this.put({ ...object, metadata: { ...object.metadata, finalizers: present ? ['chasqui.dev/drain'] : [] } });
    },
  };

  readonly secrets: Backend['secrets'] = {
    get: async (namespace, name) => this.stored.get(`${namespace}/${name}`),
    ownedBy: async (namespace: string, owner: Pick<SecretOwner, 'kind' | 'name'>) =>
      [...this.stored.values()].filter(
        (secret) =>
          secret.namespace === namespace && secret.owner.kind === owner.kind && secret.owner.name === owner.name,
      ),
    reference: async (namespace, name) => this.references.get(`${namespace}/${name}`) ?? { problem: 'it is missing' },
    owners: async () =>
      [...this.stored.values()].map(({ namespace, owner: { kind, name } }) => ({ kind, key: { namespace, name } })),
    create: async (secret) => {
      this.#write(`create Secret ${idOf(secret)}`);
      if (this.stored.has(idOf(secret))) throw new SecretConflict(idOf(secret));
      this.stored.set(idOf(secret), secret);
      this.#secretChanged(secret.namespace, secret.name);
    },
    apply: async (secret) => {
      this.#write(`apply Secret ${idOf(secret)}`);
      const there = this.stored.get(idOf(secret));
      if (there && ownership(there, secret.owner) !== 'Ours') throw new SecretConflict(idOf(secret));
      this.stored.set(idOf(secret), secret);
      this.#secretChanged(secret.namespace, secret.name);
    },
    delete: async (namespace, name) => {
      this.#write(`delete Secret ${namespace}/${name}`);
      this.stored.delete(`${namespace}/${name}`);
      this.#secretChanged(namespace, name);
    },
    watch: (listener) => void this.#secretListeners.push(listener),
  };

  readonly relays: Backend['relays'] = {
    apply: async (group) => {
      if (isDeepStrictEqual(this.groups.get(idOf(group)), group)) return;
      this.#write(`apply relay ${idOf(group)}`);
      this.groups.set(idOf(group), group);
    },
    peers: () => ({ socket: '/run/replica-{ordinal}.sock' }),
    applied: (key) => this.groups.get(idOf(key))?.documents ?? new Map(),
    isEmpty: (key, hash) =>
      this.relays.observe(key).every(({ queued, configHash }) => queued === false && configHash === hash),
    observe: (key) => this.replicas.get(idOf(key)) ?? [],
    remove: async (key) => this.drained.has(idOf(key)),
    watch: (listener) => void this.#relayListeners.push(listener),
  };

  /** Sets the labels of a namespace. */
  label(namespace: string, labels: Readonly<Record<string, string>>): void {
    this.#labels.set(namespace, labels);
    for (const listener of this.#namespaceListeners) listener(namespace);
  }

  readonly namespaces: Backend['namespaces'] = {
    labels: (name) => ({ ...this.#labels.get(name), [NAMESPACE_NAME]: name }),
    watch: (listener) => void this.#namespaceListeners.push(listener),
  };

  issuesCertificates = true;

  readonly events: Backend['events'] = { emit: (event) => void this.emitted.push(event) };

  submissionHost(): string {
    return 'localhost';
  }

  serviceNames(): readonly string[] {
    return ['localhost', '127.0.0.1', '::1'];
  }

  bindPort(port: number): number {
    return port;
  }
}

/** Where nobody looks at DNS. */
export const NO_DNS: Pick<DnsChecker, 'observe' | 'watch'> = { observe: () => new Map(), watch: () => {} };
