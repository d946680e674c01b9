/** The end of a relay that is deleted: its replicas drain, then all that was kept for it goes, but for queues with mail. */
import type { LiveObject } from './api.ts';
import { Forbidden, NotFound } from './api-error.ts';
import { ADMIN_PURPOSE } from './children/admin-secret.ts';
import type { LiveChild } from './children/children-plan.ts';
import { CONFIG_PURPOSE } from './children/config-secrets.ts';
import { ANNOTATIONS, configSecretName, LABELS } from './children/identity.ts';
import { NAMESPACE, OPTIONAL_KINDS, SECRET, STATEFUL_SET } from './children/kinds.ts';
import type { Claim } from './claims.ts';
import type { Cluster } from './cluster.ts';
import { drainedConfig } from './drained-config.ts';
import { endsBecause } from './removal.ts';
import type { Sight, Workload } from './workload.ts';

export class WorkloadRemoval {
  readonly #workload: Workload;
  readonly #cluster: Cluster;

  constructor(workload: Workload, cluster: Cluster) {
    this.#workload = workload;
    this.#cluster = cluster;
  }

  /**
   * Goes one step further; true once nothing is left to be done.
   * @throws {ApiError}
   */
  async step(drainTimeoutMs: number): Promise<boolean> {
    const sight = this.#workload.sight();
    const { statefulSet, pods } = sight;
    if (statefulSet && statefulSet.metadata.deletionTimestamp === undefined) {
      await this.#drain(statefulSet, sight, drainTimeoutMs);
      return false;
    }
    // Pods that nobody controls any more are not ours to wait for.
    if (statefulSet || pods.some(({ deleting, controlled }) => deleting || controlled)) {
      this.#workload.follow();
      return false;
    }
    await this.#leaveClaims(sight.claims);
    await this.#deleteChildren(sight.children);
    this.#workload.close();
    return true;
  }

  async #drain(statefulSet: LiveObject, sight: Sight, drainTimeoutMs: number): Promise<void> {
    const { api, copies, log, nowMs } = this.#cluster;
    const workload = this.#workload;
    const { key } = workload;
    await workload.direct(sight.pods, 0, 'away');
    workload.leave(await this.#tellReplicas());
    const scale = workload.scale(0, sight);
    await workload.claims.mark(sight.claims, scale.mark);
    const relay = this.#cluster.relay(key);
    const deleted = relay?.metadata.deletionTimestamp;
    const why = endsBecause({
      draining: scale.replicas > 0,
      sinceMs: deleted === undefined ? nowMs() : Date.parse(deleted),
      nowMs: nowMs(),
      drainTimeoutMs,
      skipDrain: skips(relay?.metadata.annotations?.[ANNOTATIONS.skipDrain]),
      namespaceGoes: await this.#namespaceGoes(),
    });
    if (why !== undefined) {
      log.info({ ...key, why }, 'replicas of a deleted relay end');
      await workload.writer.delete(STATEFUL_SET, statefulSet);
    } else if (scale.replicas < replicasOf(statefulSet)) {
      const patch = { metadata: { uid: statefulSet.metadata.uid }, spec: { replicas: scale.replicas } };
      copies.wrote(STATEFUL_SET, await api.patch(STATEFUL_SET, key, patch));
    }
    workload.follow();
  }

  /** @returns the hash of the config by which they drain */
  async #tellReplicas(): Promise<string | undefined> {
    const { api, copies } = this.#cluster;
    const key = { ...this.#workload.key, name: configSecretName(this.#workload.key.name) };
    const drained = drainedConfig(copies.get(SECRET, key));
    if (drained?.patch) {
      const { patch } = drained;
      await this.#workload.writer.unlessGone(async () => copies.wrote(SECRET, await api.patch(SECRET, key, patch)));
    }
    return drained?.configHash;
  }

  async #namespaceGoes(): Promise<boolean> {
    try {
      const { namespace } = this.#workload.key;
      const { metadata } = await this.#cluster.api.get(NAMESPACE, { namespace: '', name: namespace });
      return metadata.deletionTimestamp !== undefined;
    } catch (error) {
      if (error instanceof NotFound) return true;
      if (error instanceof Forbidden) return false;
      throw error;
    }
  }

  async #leaveClaims(claims: readonly Claim[]): Promise<void> {
    const { key } = this.#workload;
    const { events, relay } = this.#cluster;
    const policy = relay(key)?.spec.queue.storage.retentionPolicy.whenDeleted;
    if (policy === 'DeleteIfEmpty') await this.#workload.claims.deleteEmpty(claims);
    for (const { name, marked, deleting } of claims) {
      if (marked || deleting) continue;
      const message = `PersistentVolumeClaim ${name} is kept: its queue may hold mail. An SmtpRelay ${key.name} in this namespace takes it up again.`;
      events.emit({ kind: 'SmtpRelay', key, type: 'Warning', reason: 'QueueKept', message });
    }
  }

  /** Secrets with certificates go with their controller. */
  async #deleteChildren(children: readonly LiveChild[]): Promise<void> {
    const { writer, key } = this.#workload;
    for (const { kind, object } of children) {
      const purpose = object.metadata.labels?.[LABELS.purpose] ?? '';
      if (kind === SECRET && ![CONFIG_PURPOSE, ADMIN_PURPOSE].includes(purpose)) continue;
      await writer.delete(kind, object);
    }
    const { api } = this.#cluster;
    for (const kind of OPTIONAL_KINDS) {
      if ((await api.served(kind.group, kind.version)).has(kind.plural)) {
        await writer.unlessGone(() => api.delete(kind, key));
      }
    }
  }
}

const skips = (annotation: string | undefined): boolean => annotation !== undefined && annotation !== 'false';

function replicasOf({ spec }: LiveObject): number {
  const replicas: unknown = typeof spec === 'object' && spec !== null && 'replicas' in spec ? spec.replicas : undefined;
  return typeof replicas === 'number' ? replicas : 0;
}
