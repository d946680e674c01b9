/** The Kubernetes backend: what the operator needs of the world, made of objects of an API. */
import type { ObjectKey } from '../../../crds/resource.ts';
import { type Backend, REFERENCE_LABEL } from '../../backend.ts';
import type { KeptKey } from '../../metrics.ts';
import type { ReflectorTimes } from '../../runtime/reflector.ts';
import type { ApiKind, KubernetesApi, LiveObject } from './api.ts';
import { DNS_ENDPOINT } from './children/dns-endpoint.ts';
import { bindPort, LABELS, MANAGER, podsServiceName } from './children/identity.ts';
import { NAMESPACE, SECRET } from './children/kinds.ts';
import type { Log } from './cluster.ts';
import { Copies } from './copies.ts';
import { ApiEvents } from './events.ts';
import { untilServed } from './kinds-served.ts';
import { ApiNamespaces } from './namespaces.ts';
import { ApiObjects } from './objects.ts';
import { Endpoints } from './publications.ts';
import { KubernetesRelays } from './relays.ts';
import { replicaClient } from './replica-client.ts';
import { ApiSecrets } from './secrets.ts';
import { Watched } from './watched.ts';

export interface KubernetesOptions {
  readonly api: KubernetesApi;
  /** Where our resources and the Secrets of their users are; undefined: everywhere. */
  readonly namespaces: readonly string[] | undefined;
  /** Where relays run; undefined: everywhere. */
  readonly relayNamespaces: readonly string[] | undefined;
  /** Image of relays that name none. */
  readonly relayImage: string;
  /** Where the operator runs, if in this cluster. */
  readonly operatorNamespace: string | undefined;
  /** Name of this process. */
  readonly instance: string;
  readonly log: Log;
  readonly times?: Partial<ReflectorTimes>;
}

/** Secrets that controllers keep; what only pods are given is copied with the relays. */
const OF_CONTROLLERS = `${LABELS.managedBy}=${MANAGER},${LABELS.purpose} notin (config,admin)`;

export class KubernetesBackend implements Backend {
  readonly objects: ApiObjects;
  readonly secrets: ApiSecrets;
  readonly relays: KubernetesRelays;
  readonly events: ApiEvents;
  readonly namespaces: ApiNamespaces;
  readonly publications: Endpoints;
  readonly #options: KubernetesOptions;
  readonly #secretCopies: Watched<LiveObject>;
  readonly #references: Watched<LiveObject>;
  readonly #relayCopies: Copies;
  readonly #stop = new AbortController();
  #missing: readonly string[] = [];

  constructor(options: KubernetesOptions) {
    const { api, namespaces, relayNamespaces, instance, log, times } = options;
    this.#options = options;
    this.events = new ApiEvents({
      api,
      instance,
      uidOf: ({ kind, key }) => this.objects.get(kind, key)?.metadata.uid,
      dropped: ({ kind, key, reason }, err) => log.debug({ kind, ...key, reason, err }, 'an event was not written'),
    });
    const failed = ({ plural }: ApiKind, err: unknown, retryMs: number): void =>
      log.warn({ resource: plural, err, retryMs }, 'following what is in the cluster failed, will be tried again');
    const following = { api, failed, ...(times && { times }) };
    this.objects = new ApiObjects({ ...following, namespaces, events: this.events });
    this.namespaces = new ApiNamespaces({
      ...{ api, readable: namespaces === undefined, ...(times && { times }) },
      failed: (err, retryMs) => failed(NAMESPACE, err, retryMs),
    });
    this.#secretCopies = new Watched<LiveObject>({
      ...following,
      kind: SECRET,
      namespaces: namespaces && relayNamespaces && [...new Set([...namespaces, ...relayNamespaces])],
      labelSelector: OF_CONTROLLERS,
      decode: (live) => live,
      changed: (metadata) => this.secrets.noticed(metadata),
      failed: (err, retryMs) => failed(SECRET, err, retryMs),
    });
    this.#references = new Watched<LiveObject>({
      ...following,
      ...{ kind: SECRET, namespaces, labelSelector: `${REFERENCE_LABEL}=true` },
      decode: (live) => live,
      changed: (metadata) => this.secrets.noticed(metadata),
      failed: (err, retryMs) => failed(SECRET, err, retryMs),
    });
    this.secrets = new ApiSecrets(api, this.#secretCopies, this.#references);
    this.#relayCopies = new Copies({
      ...following,
      namespaces: relayNamespaces,
      changed: (relay) => this.relays.noticed(relay),
    });
    this.publications = new Endpoints({
      api,
      namespaces,
      nowMs: () => performance.now(),
      failed: (err, retryMs) => failed(DNS_ENDPOINT, err, retryMs),
    });
    this.relays = new KubernetesRelays({
      api,
      copies: this.#relayCopies,
      relay: (key) => this.objects.get('SmtpRelay', key),
      client: replicaClient(),
      events: this.events,
      image: options.relayImage,
      operatorNamespace: options.operatorNamespace,
      serverName: this.submissionHost,
      log,
      nowMs: Date.now,
    });
  }

  /** Why it has not read everything; empty once it has. */
  get hindrances(): readonly string[] {
    if (this.#missing.length > 0) return [`CustomResourceDefinitions are missing: ${this.#missing.join(', ')}`];
    const unread = [
      this.objects.synced ? [] : ['SmtpRelays, MailDomains, SmtpUsers'],
      this.namespaces.synced ? [] : ['Namespaces'],
      this.#secretCopies.synced && this.#references.synced ? [] : ['Secrets'],
      this.#relayCopies.synced ? [] : ['what relays are made of'],
    ].flat();
    return unread.length === 0 ? [] : [`not read yet: ${unread.join(', ')}`];
  }

  /** DKIM keys, whether they are in use or not. */
  keptKeys(): readonly KeptKey[] {
    return this.#secretCopies
      .list()
      .filter(({ metadata }) => metadata.labels?.[LABELS.purpose] === 'dkim')
      .map(({ metadata: { namespace, labels, annotations, creationTimestamp } }) => ({
        namespace,
        mailDomain: labels?.[LABELS.ownerName] ?? '',
        selector: annotations?.['chasqui.dev/selector'] ?? '',
        algorithm: annotations?.['chasqui.dev/algorithm'] ?? '',
        createdMs: Date.parse(creationTimestamp),
      }));
  }

  readonly submissionHost = ({ namespace, name }: ObjectKey): string => `${name}.${namespace}.svc`;

  /** Of the Service, as clients may call it, and of each pod, as the others call it. */
  readonly serviceNames = ({ namespace, name }: ObjectKey): readonly string[] => {
    const service = `${name}.${namespace}.svc`;
    const pods = `*.${podsServiceName(name)}.${namespace}.svc`;
    return [name, `${name}.${namespace}`, service, `${service}.cluster.local`, pods];
  };

  /** By cert-manager, where it is installed. */
  readonly issuesCertificates = true;

  readonly bindPort = bindPort;

  /** @throws {Error} when it is stopped before all was read */
  async start(): Promise<void> {
    const { api, log } = this.#options;
    await untilServed({
      api,
      signal: this.#stop.signal,
      failed: (err, retryMs) => log.warn({ err, retryMs }, 'the API server cannot be asked, will be tried again'),
      missing: (names) => {
        this.#missing = names;
        log.warn({ missing: names }, 'waiting for CustomResourceDefinitions: apply those of this version');
      },
    });
    this.#missing = [];
    if (this.#stop.signal.aborted) throw new Error('stopped before all was read');
    await Promise.all(this.#copied().map((copy) => copy.start()));
    this.relays.start();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.relays.stop();
    await this.events.stop();
    await Promise.all([...this.#copied(), this.publications].map((copy) => copy.stop()));
  }

  #copied() {
    return [this.objects, this.namespaces, this.#secretCopies, this.#references, this.#relayCopies];
  }
}
