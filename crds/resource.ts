/** What a resource is, for both backends: metadata as Kubernetes has it, and the description of a kind. */
import type { TSchema } from 'typebox';
import type { API_VERSION } from './common.ts';

export type KindName = 'SmtpRelay' | 'MailDomain' | 'SmtpUser';

export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Counts the versions of the spec, from 1. */
  readonly generation: number;
  /** RFC 3339. */
  readonly creationTimestamp: string;
  /** RFC 3339; set while finalizers keep a deleted object. */
  readonly deletionTimestamp?: string;
  readonly finalizers?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Resource<Kind extends KindName = KindName, Spec = unknown, Status = unknown> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: Kind;
  readonly metadata: ObjectMeta;
  readonly spec: Spec;
  readonly status?: Status;
}

/** Points at an object of a known kind. */
export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

export const keyOf = (object: { metadata: ObjectKey }): string =>
  `${object.metadata.namespace}/${object.metadata.name}`;

/** A column of `kubectl get`. */
interface Column {
  readonly name: string;
  /** Of the value: text where it is left out. */
  readonly type?: 'integer';
  readonly jsonPath: string;
  readonly description: string;
}

/** What the CRD, the validation and the docs are made of. */
export interface KindDefinition {
  readonly kind: KindName;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly description: string;
  /** Longest name of an object of this kind, in characters. */
  readonly maxNameLength: number;
  readonly spec: TSchema;
  readonly status: TSchema;
  /** Fields of the spec, as JSON pointers, that cannot change once the object exists. */
  readonly immutable: readonly string[];
  /** What `kubectl get` shows of it, beside what it shows of every kind. */
  readonly columns: readonly Column[];
  /** Its replicas can be scaled: `replicas` of spec and status, and the field of the status that has the label selector. */
  readonly scale?: { readonly replicas: string; readonly selector: string };
}
