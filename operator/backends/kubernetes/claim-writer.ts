/** Writes claims: marks, growth, and the deletion of those that are empty where the spec asks for it. */
import type { ObjectKey } from '../../../crds/resource.ts';
import { Conflict, Forbidden, Invalid, NotFound } from './api-error.ts';
import { ANNOTATIONS } from './children/identity.ts';
import { CLAIM_KIND } from './children/kinds.ts';
import { type Claim, tooSmall } from './claims.ts';
import type { Cluster } from './cluster.ts';

export class ClaimWriter {
  readonly #key: ObjectKey;
  readonly #cluster: Cluster;
  /** Growth that was refused is not asked for again: `UID SIZE`. */
  readonly #refused = new Set<string>();

  constructor(key: ObjectKey, cluster: Cluster) {
    this.#key = key;
    this.#cluster = cluster;
  }

  async mark(claims: readonly Claim[], ordinals: readonly number[]): Promise<void> {
    const { log, nowMs } = this.#cluster;
    for (const claim of claims.filter(({ ordinal }) => ordinals.includes(ordinal))) {
      log.info({ ...this.#key, ordinal: claim.ordinal }, 'replica is drained');
      await this.#annotate(claim, new Date(nowMs()).toISOString());
    }
  }

  async unmark(claims: readonly Claim[], ordinals: readonly number[]): Promise<void> {
    for (const claim of claims.filter(({ ordinal }) => ordinals.includes(ordinal))) await this.#annotate(claim, null);
  }

  /** @param size a Quantity */
  async grow(claims: readonly Claim[], size: string): Promise<void> {
    const { log, events } = this.#cluster;
    for (const claim of tooSmall(claims, size)) {
      const id = `${claim.uid} ${size}`;
      if (this.#refused.has(id)) continue;
      try {
        await this.#patch(claim, { spec: { resources: { requests: { storage: size } } } });
        log.info({ ...this.#key, claim: claim.name, size }, 'claim grows');
      } catch (error) {
        if (!(error instanceof Forbidden || error instanceof Invalid)) throw error;
        this.#refused.add(id);
        const message = `PersistentVolumeClaim ${claim.name} stays at ${claim.size}: ${error.message}. Its StorageClass must have allowVolumeExpansion.`;
        events.emit({ kind: 'SmtpRelay', key: this.#key, type: 'Warning', reason: 'StorageNotGrown', message });
      }
    }
  }

  /** Those that are marked, of replicas that are gone. */
  async deleteEmpty(claims: readonly Claim[]): Promise<void> {
    const { api, log } = this.#cluster;
    for (const { name, namespace, uid } of claims.filter(({ marked, deleting }) => marked && !deleting)) {
      log.info({ ...this.#key, claim: name }, 'claim is deleted, its queue is empty');
      try {
        await api.delete(CLAIM_KIND, { namespace, name }, { uid });
      } catch (error) {
        if (!(error instanceof NotFound || error instanceof Conflict)) throw error;
      }
    }
  }

  async #annotate(claim: Claim, drained: string | null): Promise<void> {
    await this.#patch(claim, { metadata: { uid: claim.uid, annotations: { [ANNOTATIONS.drained]: drained } } });
  }

  async #patch({ namespace, name }: Claim, patch: Readonly<Record<string, unknown>>): Promise<void> {
    const { api, copies } = this.#cluster;
    copies.wrote(CLAIM_KIND, await api.patch(CLAIM_KIND, { namespace, name }, patch));
  }
}
