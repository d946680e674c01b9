/** Carries out what was planned for the children of a relay, and remembers what came of it. */
import { randomBytes } from 'node:crypto';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { RelayGroup, RelayReplica } from '../../backend.ts';
import type { ApiKind, ApiObject, LiveObject } from './api.ts';
import { AlreadyExists, Conflict, NotFound } from './api-error.ts';
import { adminSecret } from './children/admin-secret.ts';
import type { ChildStep, Settled, WantedChild } from './children/children-plan.ts';
import { drift } from './children/drift.ts';
import { adminSecretName, relayOf } from './children/identity.ts';
import { OPTIONAL_KINDS, SECRET } from './children/kinds.ts';
import type { Cluster } from './cluster.ts';
import type { OptionalChildren } from './optional.ts';

type Hindrance = NonNullable<RelayReplica['problem']>;

const TOKEN_BYTES = 32;

export class ChildWriter {
  readonly #key: ObjectKey;
  readonly #cluster: Cluster;
  /** By uid: what was applied, and the field that was another even then. */
  readonly #settled = new Map<string, { readonly hash: string; readonly field: string }>();

  constructor(key: ObjectKey, cluster: Cluster) {
    this.#key = key;
    this.#cluster = cluster;
  }

  readonly settled: Settled = (uid, hash, field) => {
    const known = this.#settled.get(uid);
    return known?.hash === hash && known.field === field;
  };

  /**
   * @returns why it could not be, where the name is taken by another
   * @throws {ApiError}
   */
  async take(step: ChildStep, optional?: OptionalChildren): Promise<Hindrance | undefined> {
    const { api, log } = this.#cluster;
    const { kind, object } = step;
    const fields = { ...this.#key, kind: kind.kind, child: object.metadata.name };
    switch (step.step) {
      case 'create': {
        const taken = await this.#takenBy(kind, object);
        if (taken) return taken;
        log.debug({ ...fields, because: step.because }, 'child is made');
        await this.#apply(step, optional);
        return undefined;
      }
      case 'apply':
        log.debug({ ...fields, because: step.because }, 'child is applied');
        await this.#apply(step, optional);
        return undefined;
      case 'remake':
        log.info({ ...fields, because: step.because }, 'child is made anew, its pods run on');
        await this.unlessGone(() => api.delete(kind, keyOf(object), { uid: step.uid, propagation: 'Orphan' }));
        return undefined;
      case 'delete':
        log.debug(fields, 'child is deleted');
        await this.delete(kind, step.object);
        optional?.wrote(kind, undefined);
        return undefined;
    }
  }

  /** Tokens are made once: those that are there stay, whatever they are. */
  async ensureTokens(group: RelayGroup): Promise<Hindrance | undefined> {
    const { api, copies } = this.#cluster;
    const key = { ...this.#key, name: adminSecretName(group.name) };
    if (copies.get(SECRET, key)) return undefined;
    const secret = adminSecret(group, () => randomBytes(TOKEN_BYTES).toString('base64url'));
    try {
      copies.wrote(SECRET, await api.create(SECRET, secret));
      return undefined;
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
      return this.#takenBy(SECRET, secret);
    }
  }

  async delete(kind: ApiKind, { metadata }: LiveObject): Promise<void> {
    const { uid } = metadata;
    await this.unlessGone(() => this.#cluster.api.delete(kind, metadata, { uid, propagation: 'Background' }));
  }

  /** Gone already, or another by now: both are seen in the copies. */
  async unlessGone(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!(error instanceof NotFound || error instanceof Conflict)) throw error;
    }
  }

  async #apply({ kind, object, hash }: WantedChild, optional: OptionalChildren | undefined): Promise<void> {
    const { api, copies, log } = this.#cluster;
    const live = await api.apply(kind, object, { force: true });
    if (OPTIONAL_KINDS.includes(kind)) optional?.wrote(kind, live);
    else copies.wrote(kind, live);
    const field = drift(object, live);
    const { uid } = live.metadata;
    if (field === undefined) {
      this.#settled.delete(uid);
      return;
    }
    this.#settled.set(uid, { hash, field });
    log.warn(
      { ...this.#key, kind: kind.kind, child: object.metadata.name, field },
      'a field of a child is written otherwise by another, maybe a webhook: it is left so',
    );
  }

  /** What stands under a name that we have no copy of: another's, or ours that was just made. */
  async #takenBy(kind: ApiKind, { metadata }: ApiObject): Promise<Hindrance | undefined> {
    try {
      const live = await this.#cluster.api.get(kind, keyOf({ metadata }));
      if (relayOf(live.metadata)?.name === this.#key.name) return undefined;
    } catch (error) {
      if (error instanceof NotFound) return undefined;
      throw error;
    }
    const message = `${kind.kind} ${metadata.name} is there and belongs to someone else: delete it, or name the relay otherwise.`;
    return { reason: 'NameTaken', message };
  }
}

const keyOf = ({ metadata }: Pick<ApiObject, 'metadata'>): ObjectKey => ({
  namespace: metadata.namespace ?? '',
  name: metadata.name,
});
