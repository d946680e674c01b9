/**
 * How what we keep in a cluster for a relay is named and labelled. The labels say whose a thing is; there is no
 * ownerReference on what replicas need, since a foreground deletion of the owner would delete it first, replicas and
 * all, before they have drained (https://kubernetes.io/docs/concepts/architecture/garbage-collection/).
 */
import type { ObjectKey } from '../../../../crds/resource.ts';
import type { RelayGroup } from '../../../backend.ts';

export const LABELS = {
  managedBy: 'app.kubernetes.io/managed-by',
  ownerKind: 'chasqui.dev/owner-kind',
  ownerName: 'chasqui.dev/owner-name',
  ownerUid: 'chasqui.dev/owner-uid',
  /** Of Secrets: what they are for. */
  purpose: 'chasqui.dev/purpose',
  /** Of pods: whether Services lead to it. */
  acceptsMail: 'chasqui.dev/accepts-mail',
  /** Of pods of a StatefulSet, set by Kubernetes: the ordinal. */
  podIndex: 'apps.kubernetes.io/pod-index',
} as const;

export const ANNOTATIONS = {
  /** Of a child: SHA-256 of what was applied. */
  appliedHash: 'chasqui.dev/applied-hash',
  /** Of a claim: when its queue was seen to be empty for good. */
  drained: 'chasqui.dev/drained',
  /** Of a pod: changed to make the kubelet look at its mounts. */
  refresh: 'chasqui.dev/config-refresh',
  /** Of an SmtpRelay that is deleted: its queues are not waited for. */
  skipDrain: 'chasqui.dev/skip-drain',
} as const;

export const MANAGER = 'chasqui';

export const ADMIN_PORT = 9466;
/** Name of the claim template: claims are CLAIM-NAME-ORDINAL. */
export const CLAIM = 'spool';

export type Labels = Readonly<Record<string, string>>;

/** They can never change on a StatefulSet: nothing that may change about a relay stands here. */
export const selectorLabels = (relay: string): Labels => ({
  'app.kubernetes.io/name': 'chasqui-relay',
  'app.kubernetes.io/instance': relay,
});

/**
 * Of pods and claims. Without the uid: a relay that is restored from a backup has another one, and neither rolls its
 * pods nor loses its claims for that.
 */
export const podLabels = (relay: string): Labels => ({
  ...selectorLabels(relay),
  [LABELS.managedBy]: MANAGER,
  [LABELS.ownerKind]: 'SmtpRelay',
  [LABELS.ownerName]: relay,
});

export const childLabels = ({ name, uid }: Pick<RelayGroup, 'name' | 'uid'>): Labels => ({
  ...podLabels(name),
  [LABELS.ownerUid]: uid,
});

/** Metadata of a child. */
export const meta = (group: Pick<RelayGroup, 'namespace' | 'name' | 'uid'>, name: string, labels: Labels = {}) => ({
  namespace: group.namespace,
  name,
  labels: { ...childLabels(group), ...labels },
});

/** The relay that an object is kept for, by its labels; undefined when it is not ours. */
export function relayOf(metadata: { readonly namespace?: string; readonly labels?: Labels }): ObjectKey | undefined {
  const { namespace, labels = {} } = metadata;
  const name = labels[LABELS.ownerName];
  if (labels[LABELS.managedBy] !== MANAGER || labels[LABELS.ownerKind] !== 'SmtpRelay') return undefined;
  return namespace === undefined || name === undefined ? undefined : { namespace, name };
}

export const podsServiceName = (relay: string): string => `${relay}-pods`;
export const adminSecretName = (relay: string): string => `${relay}-admin`;
export const configSecretName = (relay: string): string => `${relay}-config`;
/** Of a shard, such as `domains-00.json`. */
export const shardSecretName = (relay: string, file: string): string => `${relay}-${file.replace(/\.json$/, '')}`;

/** Without the right to bind low ports, which a non-root pod has not, a pod binds them higher; Services map them. */
export const bindPort = (port: number): number => (port < 1024 ? 10_000 + port : port);

/** The ordinal of a claim or a pod by its name: what ends in -NUMBER. */
export function ordinalOf(name: string): number | undefined {
  const digits = /-(0|[1-9][0-9]{0,8})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
