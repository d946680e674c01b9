/**
 * The pods of one relay, kept as they are wanted: a level loop that decides anew at every piece of news, from the copies
 * of what is in the cluster. What a restart must not forget stands in the cluster.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { RelayGroup, RelayReplica } from '../../backend.ts';
import type { ApiKind, LiveObject } from './api.ts';
import { ChildWriter } from './child-writer.ts';
import { children } from './children/children.ts';
import { claimSize, type LiveChild, planChildren } from './children/children-plan.ts';
import { LABELS } from './children/identity.ts';
import { CHILD_KINDS, CLAIM_KIND, POD, STATEFUL_SET } from './children/kinds.ts';
import { ClaimWriter } from './claim-writer.ts';
import { type Claim, claimOf, sizeOfNew } from './claims.ts';
import type { Cluster } from './cluster.ts';
import { Links } from './links.ts';
import { OptionalChildren, type OptionalKinds } from './optional.ts';
import { type Pod, podOf } from './pod.ts';
import { holdsNothing, isEmpty } from './replica-report.ts';
import { replicaView } from './replica-view.ts';
import { planScale, type ScalePlan } from './scale.ts';

/** What is in the cluster of one relay. */
export interface Sight {
  readonly pods: readonly Pod[];
  readonly claims: readonly Claim[];
  readonly children: readonly LiveChild[];
  readonly statefulSet: LiveObject | undefined;
}

export class Workload {
  readonly key: ObjectKey;
  readonly links: Links;
  readonly writer: ChildWriter;
  readonly claims: ClaimWriter;
  readonly #cluster: Cluster;
  readonly #optional: OptionalChildren;
  readonly #changed: () => void;
  #group: RelayGroup | undefined;
  /** Hash of the config that is in the cluster. */
  #delivered: string | undefined;
  #hindrance: RelayReplica['problem'];
  #told: readonly RelayReplica[] = [];
  #busy: Promise<unknown> = Promise.resolve();

  /** @param changed called when `observe` tells something else than before */
  constructor({ namespace, name }: ObjectKey, cluster: Cluster, changed: () => void, news: () => void) {
    this.key = { namespace, name };
    this.#cluster = cluster;
    this.#changed = changed;
    this.links = new Links(this.key, cluster, news);
    this.writer = new ChildWriter(this.key, cluster);
    this.claims = new ClaimWriter(this.key, cluster);
    this.#optional = new OptionalChildren(this.key);
  }

  /** @throws {ApiError} */
  async apply(group: RelayGroup, kinds: OptionalKinds): Promise<void> {
    this.#group = group;
    await this.level(kinds);
  }

  /** Brings the cluster to what was applied last. */
  async level(kinds: OptionalKinds): Promise<void> {
    await this.alone(async () => {
      if (this.#group) await this.#level(this.#group, await kinds.served(this.#cluster));
    });
  }

  /** What happened in the cluster is taken in. */
  follow(): void {
    this.links.follow(this.sight().pods, this.wanted, this.#delivered);
    this.#tell();
  }

  /** From now on all replicas drain, by this config. */
  leave(configHash: string | undefined): void {
    this.#group = undefined;
    this.#delivered = configHash;
  }

  observe(): readonly RelayReplica[] {
    const { pods, claims } = this.sight();
    const { wanted } = this;
    const ordinals = new Set([
      ...Array.from({ length: wanted }, (_, ordinal) => ordinal),
      ...[...pods, ...claims].map(({ ordinal }) => ordinal),
    ]);
    return [...ordinals]
      .sort((a, b) => a - b)
      .map((ordinal) => {
        const pod = pods.find((candidate) => candidate.ordinal === ordinal);
        const link = this.links.of(pod);
        return replicaView({
          ...{ ordinal, pod, wanted: ordinal < wanted, report: link?.report, silent: link?.silent, stuck: link?.stuck },
          claim: claims.find((candidate) => candidate.ordinal === ordinal),
          hindrance: this.#hindrance,
        });
      });
  }

  close(): void {
    this.links.close();
  }

  /** Replicas that take mail. */
  get wanted(): number {
    const relay = this.#cluster.relay(this.key);
    if (relay?.metadata.deletionTimestamp !== undefined) return 0;
    return this.#group?.replicas ?? relay?.spec.replicas ?? 0;
  }

  /** One after the other: two that write at the same time would undo each other's work. */
  alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#busy.then(work, work);
    this.#busy = result.catch(() => undefined);
    return result;
  }

  sight(): Sight {
    const own = (kind: ApiKind) => this.#cluster.copies.of(this.key, kind);
    const kept = CHILD_KINDS.flatMap((kind) => own(kind).map((object): LiveChild => ({ kind, object })));
    return {
      pods: own(POD).flatMap((object) => podOf(object) ?? []),
      claims: own(CLAIM_KIND).flatMap((object) => claimOf(this.key.name, object) ?? []),
      children: kept,
      statefulSet: kept.find(({ kind, object }) => kind === STATEFUL_SET && object.metadata.name === this.key.name)
        ?.object,
    };
  }

  /** A queue counts as empty by the config that is in force alone: by a former one its replica may have taken mail. */
  scale(wanted: number, { pods, claims }: Pick<Sight, 'pods' | 'claims'>): ScalePlan {
    return planScale(
      wanted,
      claims.map((claim) => {
        const report = this.links.of(pods.find(({ ordinal }) => ordinal === claim.ordinal))?.freshReport;
        const current = report !== undefined && report.configHash === this.#delivered;
        return { ordinal: claim.ordinal, claim, empty: current && isEmpty(report) };
      }),
    );
  }

  /** Whether each queue was told to be empty by a replica that goes by the config, or is marked so. */
  isEmpty(configHash: string): boolean {
    const { pods, claims } = this.sight();
    return claims.every(({ ordinal, marked }) => {
      const report = this.links.of(pods.find((pod) => pod.ordinal === ordinal))?.freshReport;
      return marked || (report?.configHash === configHash && holdsNothing(report));
    });
  }

  async #level(group: RelayGroup, served: ReadonlySet<ApiKind>): Promise<void> {
    const sight = this.sight();
    const { storage } = group.workload;
    if (this.#delivered !== group.configHash) this.#delivered = undefined;
    const scale = this.scale(group.replicas, sight);
    await this.claims.unmark(sight.claims, scale.unmark);
    // Clients are sent elsewhere before a replica tells them 421, and back only after it takes mail again.
    await this.direct(sight.pods, group.replicas, 'away');

    const optional = await this.#optional.live(served, this.#cluster);
    const steps = planChildren(
      children(group, {
        ...{ image: this.#cluster.image, operatorNamespace: this.#cluster.operatorNamespace, served },
        replicas: scale.replicas,
        storageSize: sizeOfNew(storage.size, claimSize(sight.statefulSet)),
      }),
      [...sight.children, ...optional],
      this.writer.settled,
    );
    const hindrances = [await this.writer.ensureTokens(group)];
    const [replicas, others] = [
      steps.filter(({ kind }) => kind === STATEFUL_SET),
      steps.filter(({ kind }) => kind !== STATEFUL_SET),
    ];
    for (const step of others) hindrances.push(await this.writer.take(step, this.#optional));
    this.#delivered = group.configHash;
    // The mark is durable before the replica goes.
    await this.claims.mark(sight.claims, scale.mark);
    for (const step of replicas) hindrances.push(await this.writer.take(step));
    await this.direct(sight.pods, group.replicas, 'back');
    await this.claims.grow(sight.claims, storage.size);
    if (storage.retentionPolicy.whenScaled === 'DeleteIfEmpty') {
      const gone = sight.claims.filter(
        ({ ordinal }) => ordinal >= scale.replicas && !sight.pods.some((pod) => pod.ordinal === ordinal),
      );
      await this.claims.deleteEmpty(gone);
    }
    this.#hindrance = hindrances.find((hindrance) => hindrance !== undefined);
    this.follow();
  }

  /** Sends clients away from pods that are not wanted, or back to those that are. */
  async direct(pods: readonly Pod[], wanted: number, which: 'away' | 'back'): Promise<void> {
    const { api, copies } = this.#cluster;
    const value = which === 'back' ? 'true' : 'false';
    for (const { namespace, name, uid, ordinal, deleting, acceptsMail } of pods) {
      if (ordinal < wanted !== (which === 'back') || deleting || acceptsMail === value) continue;
      const patch = { metadata: { uid, labels: { [LABELS.acceptsMail]: value } } };
      await this.writer.unlessGone(async () => copies.wrote(POD, await api.patch(POD, { namespace, name }, patch)));
    }
  }

  #tell(): void {
    const now = this.observe();
    if (isDeepStrictEqual(now, this.#told)) return;
    this.#told = now;
    this.#changed();
  }
}
