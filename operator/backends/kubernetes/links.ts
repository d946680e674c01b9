/** The pods of one relay, each followed by a link of its own. */
import type { ObjectKey } from '../../../crds/resource.ts';
import { caSecretName } from '../../smtprelay/certificates.ts';
import { ANNOTATIONS, adminSecretName } from './children/identity.ts';
import { POD, SECRET } from './children/kinds.ts';
import type { Cluster } from './cluster.ts';
import type { Pod } from './pod.ts';
import type { ReplicaAddress } from './replica-client.ts';
import { ReplicaLink } from './replica-link.ts';
import { secretText } from './secret-text.ts';

export class Links {
  readonly #key: ObjectKey;
  readonly #cluster: Cluster;
  readonly #changed: () => void;
  readonly #links = new Map<string, ReplicaLink>();

  /** @param changed called when a replica tells something else than before */
  constructor(key: ObjectKey, cluster: Cluster, changed: () => void) {
    this.#key = key;
    this.#cluster = cluster;
    this.#changed = changed;
  }

  of(pod: Pod | undefined): ReplicaLink | undefined {
    return pod && this.#links.get(pod.uid);
  }

  /**
   * @param wanted replicas that take mail
   * @param configHash what replicas should go by; undefined: not known yet
   */
  follow(pods: readonly Pod[], wanted: number, configHash: string | undefined): void {
    const there = new Set(pods.map(({ uid }) => uid));
    for (const [uid, link] of this.#links) {
      if (there.has(uid)) continue;
      link.close();
      this.#links.delete(uid);
    }
    const credentials = this.#credentials();
    for (const pod of pods) {
      const { ip, relay, ordinal } = pod;
      const address = ip === undefined || !relay?.started ? undefined : credentials && { ip, ...credentials };
      this.#linkOf(pod).update({ address, start: relay?.id, configHash, leaving: ordinal >= wanted });
    }
  }

  close(): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #linkOf(pod: Pod): ReplicaLink {
    const known = this.#links.get(pod.uid);
    if (known) return known;
    const { api, copies, client, nowMs } = this.#cluster;
    const { namespace, name, uid } = pod;
    const link = new ReplicaLink({
      client,
      nowMs,
      changed: this.#changed,
      refresh: async () => {
        const annotations = { [ANNOTATIONS.refresh]: String(nowMs()) };
        copies.wrote(POD, await api.patch(POD, { namespace, name }, { metadata: { uid, annotations } }));
      },
    });
    this.#links.set(uid, link);
    return link;
  }

  /** Undefined while the Secrets that they stand in are being made. */
  #credentials(): Omit<ReplicaAddress, 'ip'> | undefined {
    const { copies, serverName } = this.#cluster;
    const text = (secret: string, key: string): string | undefined => {
      const live = copies.get(SECRET, { namespace: this.#key.namespace, name: secret });
      return live && secretText(live, key);
    };
    const ca = text(caSecretName(this.#key.name), 'ca.crt');
    const token = text(adminSecretName(this.#key.name), 'view');
    return ca === undefined || token === undefined ? undefined : { serverName: serverName(this.#key), ca, token };
  }
}
