/**
 * What we ask of a Kubernetes API. Objects are plain JSON, named by group, version and plural, so that what builds them
 * needs no client; `client.ts` speaks to a real API server, and writes only while it holds the lease.
 *
 *     const POD: ApiKind = { group: '', version: 'v1', kind: 'Pod', plural: 'pods' };
 *     const pod = await api.get(POD, { namespace: 'mail', name: 'outbound-0' });             // throws NotFound
 *     await api.apply(POD, { apiVersion: 'v1', kind: 'Pod', metadata, spec }, { force: true });  // server-side apply
 *     await api.patch(POD, key, { metadata: { annotations: { ... } } });                     // JSON merge patch
 *     await api.delete(POD, key, { uid: pod.metadata.uid });
 *
 * Each method throws one of the `ApiError`s below. A merge patch or an apply that carries `metadata.resourceVersion` is
 * refused with Conflict when the object has another one. To follow objects use a Reflector (operator/runtime), not
 * `watch`.
 */
import type { ObjectKey } from '../../../crds/resource.ts';

/** Writer of all that we apply (server-side apply). */
export const FIELD_MANAGER = 'chasqui-operator';

/** A kind of the API. The group of core kinds is ''. */
export interface ApiKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
}

export const apiVersionOf = ({ group, version }: Pick<ApiKind, 'group' | 'version'>): string =>
  group === '' ? version : `${group}/${version}`;

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Metadata of an object that we write. */
export interface ApiMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface ApiObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ApiMeta;
  readonly [field: string]: unknown;
}

/** Metadata of an object that the API server told; only this much of an object is checked, the rest is for its reader. */
export interface LiveMeta extends ApiMeta {
  /** '' for kinds that have no namespace. */
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
  readonly generation?: number;
  readonly deletionTimestamp?: string;
}

export interface LiveObject extends ApiObject {
  readonly metadata: LiveMeta;
}

/** Which objects of a kind. Without a namespace: of all. */
export interface Selection {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface ListOptions extends Selection {
  /** Most items of a page. */
  readonly limit?: number;
  /** Of the page before. */
  readonly continue?: string;
  /** '0': whatever the API server has in memory. Left out: what is stored now. */
  readonly resourceVersion?: string;
}

export interface Page {
  readonly items: readonly LiveObject[];
  /** Of the whole list, to watch from. */
  readonly resourceVersion: string;
  readonly continue?: string;
}

export interface WatchOptions extends Selection {
  readonly resourceVersion: string;
  /** After which the API server ends the watch. */
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: LiveObject }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

export interface WriteOptions {
  /** Such as status or scale. */
  readonly subresource?: string;
}

export interface ApplyOptions extends WriteOptions {
  /** Whether fields that another writer holds become ours; otherwise Conflict. */
  readonly force: boolean;
}

export interface DeleteOptions {
  /** Only the object with this uid, else Conflict. */
  readonly uid?: string;
  /** Only in this version, else Conflict. */
  readonly resourceVersion?: string;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
}

export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'test';
  readonly path: string;
  readonly value?: unknown;
}

/** A list of operations is a JSON Patch (RFC 6902), an object a JSON Merge Patch (RFC 7396). */
export type Patch = readonly JsonPatchOperation[] | Readonly<Record<string, unknown>>;

export interface KubernetesApi {
  get(kind: ApiKind, key: ObjectKey): Promise<LiveObject>;
  list(kind: ApiKind, options: ListOptions): Promise<Page>;
  /** Ends when the API server ends the watch; throws Gone when the version is too old to watch from. */
  watch(kind: ApiKind, options: WatchOptions): AsyncIterable<WatchEvent>;
  create(kind: ApiKind, object: ApiObject): Promise<LiveObject>;
  /** Server-side apply as FIELD_MANAGER: creates the object, or makes what it says of it so and leaves the rest. */
  apply(kind: ApiKind, object: ApiObject, options: ApplyOptions): Promise<LiveObject>;
  patch(kind: ApiKind, key: ObjectKey, patch: Patch, options?: WriteOptions): Promise<LiveObject>;
  delete(kind: ApiKind, key: ObjectKey, options?: DeleteOptions): Promise<void>;
  /** Plurals of the kinds that the API server serves of a group and version; none where it does not know them. */
  served(group: string, version: string): Promise<ReadonlySet<string>>;
}
