/**
 * What an operator needs of the world, whatever the world is: a Kubernetes API, or processes and files of one machine.
 * Controllers see nothing but this; only `backends/host` knows processes, only `backends/kubernetes` knows pods.
 */
import type { KindTypes } from '../crds/kinds.ts';
import type { KindName, ObjectKey } from '../crds/resource.ts';
import type { SmtpRelaySpec } from '../crds/smtprelay.ts';
import type { DnsRecord } from './dns/records.ts';

export interface Objects {
  /** Accepted objects of a kind, from memory. Empty until `synced`. */
  list<Kind extends KindName>(kind: Kind): readonly KindTypes[Kind][];
  get<Kind extends KindName>(kind: Kind, key: ObjectKey): KindTypes[Kind] | undefined;
  /** Whether an object is there that cannot be read, so that `get` does not have it: it is not gone. */
  illegible?(kind: KindName, key: ObjectKey): boolean;
  /** Calls listener for each object that appears, changes (status included) or goes. */
  watch(listener: (kind: KindName, key: ObjectKey) => void): void;
  patchStatus<Kind extends KindName>(
    kind: Kind,
    key: ObjectKey,
    status: NonNullable<KindTypes[Kind]['status']>,
  ): Promise<void>;
  /** An object with our finalizer stays, with a deletionTimestamp, until it is taken off. */
  setFinalizer(kind: KindName, key: ObjectKey, present: boolean): Promise<void>;
}

/** Who a Secret of ours belongs to: written as labels, and asked before a Secret is used or written. */
export interface SecretOwner {
  readonly kind: KindName;
  readonly name: string;
  readonly uid: string;
}

/** An object that Secrets belong to. */
export interface SecretHolder {
  readonly kind: KindName;
  readonly key: ObjectKey;
}

export interface Secret {
  readonly namespace: string;
  readonly name: string;
  readonly owner: SecretOwner;
  /** What the Secret is for, such as dkim, ca, certificate, credential. */
  readonly purpose: string;
  readonly data: Readonly<Record<string, string>>;
  /** Facts about the content that are not secret, such as an algorithm or a selector. */
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * What a Secret of a user's own holds, that an object refers to; or why it cannot be had, in words that say what to do.
 * Such a Secret is only ever read.
 */
export type Reference = { readonly data: Readonly<Record<string, string>> } | { readonly problem: string };

/** Another's Secret stands where ours should be. */
export class SecretConflict extends Error {
  override readonly name = 'SecretConflict';
}

export interface Secrets {
  get(namespace: string, name: string): Promise<Secret | undefined>;
  /** Secrets of ours that belong to the owner. */
  ownedBy(namespace: string, owner: Pick<SecretOwner, 'kind' | 'name'>): Promise<readonly Secret[]>;
  /** A Secret of a user's own. */
  reference(namespace: string, name: string): Promise<Reference>;
  /** Each object that Secrets of ours belong to, whether it is still there or not. */
  owners(): Promise<readonly SecretHolder[]>;
  /**
   * Creates a Secret, durably; the only way key material is written, so that no key is ever overwritten.
   * @throws {SecretConflict} when one of that name is there
   */
  create(secret: Secret): Promise<void>;
  /**
   * Creates or replaces a Secret of ours whose content can be made again.
   * @throws {SecretConflict} when one of that name is there that is not the owner's
   */
  apply(secret: Secret): Promise<void>;
  delete(namespace: string, name: string): Promise<void>;
  watch(listener: (namespace: string, name: string) => void): void;
}

/** What a process is given of a listener at its start; the rest of it is config. */
export interface GroupListener {
  readonly name: string;
  /** What clients connect to. */
  readonly port: number;
  /** Whether TLS begins with the first byte is a matter of the socket. */
  readonly protocol: 'Submission' | 'Submissions';
}

/** Of the spec of a relay: see there. */
export type RelayWorkload = Pick<SmtpRelaySpec, 'services' | 'image' | 'podTemplate' | 'networkPolicy'> &
  Pick<SmtpRelaySpec['queue'], 'storage'> & {
    /**
     * Secrets of users' own, of the namespace of the relay, that replicas are given: each finds the keys username and
     * password of them as files in a folder of that name, if they are there. The operator reads none of them.
     */
    readonly references?: readonly string[];
  };

/** A certificate that another is asked for, where there is one who issues them. */
export interface CertificateRequest {
  /** Secret of the relay's namespace that it is put in; read as a reference. */
  readonly secretName: string;
  /** Host names that it is to be for. */
  readonly names: readonly string[];
  readonly issuer: { readonly name: string; readonly kind: string; readonly group: string };
}

/** What a user, or who issues certificates, puts on a Secret that the operator may read. */
export const REFERENCE_LABEL = 'chasqui.dev/reference';

/** One relay, neutral: what should run, and the config folder it runs by. */
export interface RelayGroup {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly replicas: number;
  readonly listeners: readonly GroupListener[];
  readonly monitoringPort: number;
  readonly drainTimeoutMs: number;
  readonly certificateRequest?: CertificateRequest;
  /** Where and how replicas run, for a backend that decides that. */
  readonly workload: RelayWorkload;
  /** File name to content of the config folder, `index.json` included. */
  readonly documents: ReadonlyMap<string, string>;
  /** Hash of the config: hex SHA-256 of `index.json`. */
  readonly configHash: string;
}

export interface RelayReplica {
  readonly ordinal: number;
  readonly state: 'Starting' | 'Ready' | 'Unready' | 'Draining' | 'Stopped';
  readonly version?: string;
  /** Config that the replica reports to be in force; absent until it was asked. */
  readonly configHash?: string;
  /** It was asked and does not answer, though it may well do its work. */
  readonly silent?: true;
  /** Entries of the config that the replica left out. */
  readonly rejected: readonly string[];
  /** Why it does not go by a config that it was given since. */
  readonly configProblem?: string;
  /** Whether its spool holds mail; undefined when unknown. */
  readonly queued?: boolean;
  /** Draining: messages that it has left. */
  readonly left?: number;
  /** Draining: why that does not get less. */
  readonly stuck?: string;
  /** Why it does not run, such as AddressInUse. */
  readonly problem?: { readonly reason: string; readonly message: string };
}

/**
 * Where the admin API of each replica is, with `{ordinal}` in place of its number: at a socket, or at a host name and
 * port, under TLS with the relay's own certificate, which must be for these names.
 */
export type PeerPlaces = { readonly socket: string } | { readonly host: string; readonly port: number };

export interface Relays {
  /** Asked at each reconcile: the same group again changes nothing. */
  apply(group: RelayGroup): Promise<void>;
  observe(key: ObjectKey): readonly RelayReplica[];
  /** Index, certificates and shards of domains, by file, as they were last applied, by an earlier process maybe. */
  applied(key: ObjectKey): ReadonlyMap<string, string>;
  /** Whether every queue of the relay was seen empty by a replica that goes by this config. No watch tells of it. */
  isEmpty(key: ObjectKey, configHash: string): boolean;
  /** Where replicas of the relay find each other. */
  peers(key: ObjectKey): PeerPlaces;
  /** Labels by which the pods of a relay are selected, where its replicas are pods. */
  selector?(key: ObjectKey): string;
  /** Drains and ends all replicas; resolves true once none is left. Asked again until then. */
  remove(key: ObjectKey, drainTimeoutMs: number): Promise<boolean>;
  /** Calls listener when anything that `observe` tells has changed. */
  watch(listener: (key: ObjectKey) => void): void;
}

/** Records of a MailDomain that another program is to publish. */
export interface Publication {
  readonly namespace: string;
  /** Of the MailDomain, and of what is made for it. */
  readonly name: string;
  readonly owner: SecretOwner;
  readonly records: readonly Pick<DnsRecord, 'type' | 'name' | 'value'>[];
  readonly ttlSeconds: number;
  /** Whether the records stay when the MailDomain is deleted. */
  readonly outlives: boolean;
}

/**
 * Unavailable: nothing here publishes. Unread: what is there is not known yet. None: nothing was asked of it. NameTaken: another's stands where ours should.
 * Waiting: the publisher has not read it yet, as it is now. Read: it has; DNS tells whether it did what it says.
 */
export type PublicationState = 'Unavailable' | 'Unread' | 'None' | 'NameTaken' | 'Waiting' | 'Read';

export interface Publications {
  state(key: ObjectKey): Promise<PublicationState>;
  /** The same again writes nothing; nothing is done where it is Unavailable or NameTaken. */
  apply(publication: Publication): Promise<void>;
  /** Takes away what we asked for, if anything. */
  delete(key: ObjectKey): Promise<void>;
  /** Calls listener when what `state` tells may have changed. */
  watch(listener: (key: ObjectKey) => void): void;
}

export interface OperatorEvent {
  readonly kind: KindName;
  readonly key: ObjectKey;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** Namespaces as grants see them: by their labels. */
export interface Namespaces {
  /** From memory; kubernetes.io/metadata.name is always among them, also of one that is not known. */
  labels(namespace: string): Readonly<Record<string, string>>;
  /** Calls listener for each namespace whose labels changed. */
  watch(listener: (namespace: string) => void): void;
}

/** The label that every namespace of a cluster has. */
export const NAMESPACE_NAME = 'kubernetes.io/metadata.name';

export interface Events {
  emit(event: OperatorEvent): void;
}

export interface Backend {
  readonly objects: Objects;
  readonly secrets: Secrets;
  readonly relays: Relays;
  readonly events: Events;
  /** Whether certificates can be asked for. */
  readonly issuesCertificates: boolean;
  readonly namespaces: Namespaces;
  /** Absent: nothing here publishes DNS records. */
  readonly publications?: Publications;
  /** Host name and port at which a user of the relay submits; differs between a cluster and one machine. */
  readonly submissionHost: (relay: ObjectKey) => string;
  /** Names and addresses, beside its hostname, that the relay's own certificate is for. */
  readonly serviceNames: (relay: ObjectKey) => readonly string[];
  /** The port that a replica binds where clients connect to this one; the same one where nothing stands between. */
  readonly bindPort: (port: number) => number;
  /** Reads everything, then starts watching; nothing is reconciled before it resolves. */
  start(): Promise<void>;
  stop(): Promise<void>;
}
