/** All relays of a cluster. */
import type { ObjectKey } from '../../../crds/resource.ts';
import type { PeerPlaces, RelayGroup, RelayReplica, Relays } from '../../backend.ts';
import { KeyedQueue } from '../../runtime/queue.ts';
import { appliedDocuments } from './children/config-secrets.ts';
import { ADMIN_PORT, podsServiceName, selectorLabels } from './children/identity.ts';
import { SECRET } from './children/kinds.ts';
import type { Cluster } from './cluster.ts';
import { OptionalKinds } from './optional.ts';
import { Workload } from './workload.ts';
import { WorkloadRemoval } from './workload-removal.ts';

/** Relays that are brought to what is wanted at the same time. */
const WORKERS = 4;

export class KubernetesRelays implements Relays {
  readonly #cluster: Cluster;
  readonly #workloads = new Map<string, Workload>();
  readonly #listeners: ((key: ObjectKey) => void)[] = [];
  readonly #optional = new OptionalKinds();
  readonly #queue: KeyedQueue;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#queue = new KeyedQueue({
      workers: WORKERS,
      work: async (id) => {
        await this.#workloads.get(id)?.level(this.#optional);
        return undefined;
      },
      failed: (id, err, retryMs) =>
        cluster.log.warn(
          { relay: id, err, retryMs },
          'pods could not be brought to what is wanted, will be tried again',
        ),
    });
  }

  /** Once the copies of what is in the cluster are whole. */
  start(): void {
    this.#queue.start();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
    for (const workload of this.#workloads.values()) workload.close();
  }

  /** Something of the relay appeared, changed or went. */
  noticed(key: ObjectKey): void {
    if (!this.#cluster.relay(key) && !this.#workloads.has(idOf(key))) return;
    this.#workloadOf(key).follow();
    this.#queue.add(idOf(key));
  }

  async apply(group: RelayGroup): Promise<void> {
    await this.#workloadOf(group).apply(group, this.#optional);
  }

  observe(key: ObjectKey): readonly RelayReplica[] {
    return this.#workloadOf(key).observe();
  }

  applied({ namespace, name }: ObjectKey): ReadonlyMap<string, string> {
    return appliedDocuments(name, (secret) => this.#cluster.copies.get(SECRET, { namespace, name: secret }));
  }

  isEmpty(key: ObjectKey, configHash: string): boolean {
    return this.#workloadOf(key).isEmpty(configHash);
  }

  peers({ namespace, name }: ObjectKey): PeerPlaces {
    return { host: `${name}-{ordinal}.${podsServiceName(name)}.${namespace}.svc`, port: ADMIN_PORT };
  }

  selector({ name }: ObjectKey): string {
    return Object.entries(selectorLabels(name))
      .map(([label, value]) => `${label}=${value}`)
      .join(',');
  }

  async remove(key: ObjectKey, drainTimeoutMs: number): Promise<boolean> {
    const workload = this.#workloadOf(key);
    const removal = new WorkloadRemoval(workload, this.#cluster);
    const done = await workload.alone(() => removal.step(drainTimeoutMs));
    if (done) this.#workloads.delete(idOf(key));
    return done;
  }

  watch(listener: (key: ObjectKey) => void): void {
    this.#listeners.push(listener);
  }

  #workloadOf(key: ObjectKey): Workload {
    const id = idOf(key);
    const known = this.#workloads.get(id);
    if (known) return known;
    const { namespace, name } = key;
    const changed = (): void => {
      for (const listener of this.#listeners) listener({ namespace, name });
    };
    const workload: Workload = new Workload(key, this.#cluster, changed, () => {
      workload.follow();
      this.#queue.add(id);
    });
    this.#workloads.set(id, workload);
    return workload;
  }
}

const idOf = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;
