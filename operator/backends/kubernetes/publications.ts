/**
 * DNSEndpoints of MailDomains: kept as they should be, and followed, where the cluster has that kind. Whether it has is
 * asked when a domain first wants it, and now and then as long as it has not.
 */
import { createHash } from 'node:crypto';
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { Publication, PublicationState, Publications } from '../../backend.ts';
import { canonicalJson } from '../../smtprelay/canonical-json.ts';
import type { ApiObject, KubernetesApi, LiveObject } from './api.ts';
import { NotFound } from './api-error.ts';
import { DNS_ENDPOINT, dnsEndpoint } from './children/dns-endpoint.ts';
import { ANNOTATIONS, LABELS, MANAGER } from './children/identity.ts';
import { Watched } from './watched.ts';

const LOOK_AGAIN_MS = 10 * 60_000;

const Status = Schema.Compile(Type.Object({ observedGeneration: Type.Integer() }));

export interface PublicationsOptions {
  readonly api: KubernetesApi;
  /** Where MailDomains are looked for; undefined: everywhere. */
  readonly namespaces: readonly string[] | undefined;
  readonly nowMs: () => number;
  readonly failed: (error: unknown, retryMs: number) => void;
}

export class Endpoints implements Publications {
  readonly #options: PublicationsOptions;
  readonly #copies: Watched<LiveObject>;
  readonly #listeners: ((key: ObjectKey) => void)[] = [];
  /** Names that are another's. */
  readonly #taken = new Set<string>();
  /** Who asked before all was read. */
  readonly #waiting = new Map<string, ObjectKey>();
  #following = false;
  #served = false;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(options: PublicationsOptions) {
    this.#options = options;
    const { api, namespaces, failed } = options;
    this.#copies = new Watched<LiveObject>({
      api,
      kind: DNS_ENDPOINT,
      namespaces,
      labelSelector: `${LABELS.managedBy}=${MANAGER},${LABELS.ownerKind}=MailDomain`,
      decode: (live) => live,
      changed: ({ namespace, name }) => this.#tell({ namespace, name }),
      failed,
    });
  }

  watch(listener: (key: ObjectKey) => void): void {
    this.#listeners.push(listener);
  }

  async state(key: ObjectKey): Promise<PublicationState> {
    if (!(await this.#isServed())) return 'Unavailable';
    if (!this.#copies.synced) {
      this.#waiting.set(idOf(key), key);
      return 'Unread';
    }
    if (this.#taken.has(idOf(key))) return 'NameTaken';
    const live = this.#copies.get(key);
    if (!live) return 'None';
    const { status } = live;
    return Status.Check(status) && status.observedGeneration === live.metadata.generation ? 'Read' : 'Waiting';
  }

  async apply(publication: Publication): Promise<void> {
    // What is there must be known before anything is taken to be missing.
    if (!this.#served || !this.#copies.synced) return;
    const { api } = this.#options;
    const wanted = stamped(dnsEndpoint(publication));
    const live = this.#copies.get(publication);
    const hash = wanted.metadata.annotations?.[ANNOTATIONS.appliedHash];
    if (live && live.metadata.annotations?.[ANNOTATIONS.appliedHash] === hash && isAsApplied(live, wanted)) return;
    if (!live && (await this.#isTaken(publication))) {
      this.#taken.add(idOf(publication));
      return;
    }
    this.#taken.delete(idOf(publication));
    this.#copies.wrote(await api.apply(DNS_ENDPOINT, wanted, { force: true }));
  }

  async delete(key: ObjectKey): Promise<void> {
    const live = this.#copies.get(key);
    if (!live) return;
    try {
      await this.#options.api.delete(DNS_ENDPOINT, key, { uid: live.metadata.uid });
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  async stop(): Promise<void> {
    await this.#copies.stop();
  }

  async #isServed(): Promise<boolean> {
    const { api, nowMs } = this.#options;
    if (!this.#served && nowMs() - this.#askedMs >= LOOK_AGAIN_MS) {
      this.#served = (await api.served(DNS_ENDPOINT.group, DNS_ENDPOINT.version)).has(DNS_ENDPOINT.plural);
      this.#askedMs = nowMs();
    }
    if (this.#served && !this.#following) this.#follow();
    return this.#served;
  }

  /** Nobody waits for it: a domain must go on where we may not read what is published. */
  #follow(): void {
    this.#following = true;
    const read = (): void => {
      for (const key of this.#waiting.values()) this.#tell(key);
      this.#waiting.clear();
    };
    // It fails only where we are stopped before.
    this.#copies.start().then(read, () => undefined);
  }

  /** Whether what stands under the name, of which we have no copy, is another's. */
  async #isTaken(key: ObjectKey): Promise<boolean> {
    try {
      const { metadata } = await this.#options.api.get(DNS_ENDPOINT, key);
      return metadata.labels?.[LABELS.managedBy] !== MANAGER || metadata.labels[LABELS.ownerName] !== key.name;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  }

  #tell(key: ObjectKey): void {
    for (const listener of this.#listeners) listener(key);
  }
}

const idOf = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;

function stamped(object: ApiObject): ApiObject {
  const hash = createHash('sha256').update(canonicalJson(object)).digest('hex');
  return { ...object, metadata: { ...object.metadata, annotations: { [ANNOTATIONS.appliedHash]: hash } } };
}

/** Nobody wrote other records since. */
const isAsApplied = (live: LiveObject, wanted: ApiObject): boolean => {
  const spec = (object: ApiObject): unknown => object.spec ?? {};
  return canonicalJson(spec(live)) === canonicalJson(spec(wanted));
};
