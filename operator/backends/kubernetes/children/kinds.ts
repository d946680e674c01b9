/** Kinds of what we keep in a cluster for a relay. */
import type { ApiKind } from '../api.ts';

const core = (kind: string, plural: string): ApiKind => ({ group: '', version: 'v1', kind, plural });

export const POD = core('Pod', 'pods');
export const CLAIM_KIND = core('PersistentVolumeClaim', 'persistentvolumeclaims');
export const NAMESPACE = core('Namespace', 'namespaces');
export const SECRET = core('Secret', 'secrets');
export const SERVICE = core('Service', 'services');
export const SERVICE_ACCOUNT = core('ServiceAccount', 'serviceaccounts');
export const STATEFUL_SET: ApiKind = { group: 'apps', version: 'v1', kind: 'StatefulSet', plural: 'statefulsets' };
export const NETWORK_POLICY: ApiKind = {
  group: 'networking.k8s.io',
  version: 'v1',
  kind: 'NetworkPolicy',
  plural: 'networkpolicies',
};
export const DISRUPTION_BUDGET: ApiKind = {
  group: 'policy',
  version: 'v1',
  kind: 'PodDisruptionBudget',
  plural: 'poddisruptionbudgets',
};
/** Of the Prometheus operator: where that is installed. */
export const POD_MONITOR: ApiKind = {
  group: 'monitoring.coreos.com',
  version: 'v1',
  kind: 'PodMonitor',
  plural: 'podmonitors',
};

/** Of cert-manager: where that is installed. */
export const CERTIFICATE: ApiKind = {
  group: 'cert-manager.io',
  version: 'v1',
  kind: 'Certificate',
  plural: 'certificates',
};

/** Kinds of children that a cluster may not have. */
export const OPTIONAL_KINDS = [POD_MONITOR, CERTIFICATE];

/** Kinds of children that every cluster has. */
export const CHILD_KINDS = [SECRET, SERVICE_ACCOUNT, SERVICE, NETWORK_POLICY, DISRUPTION_BUDGET, STATEFUL_SET];
