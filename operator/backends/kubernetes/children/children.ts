/** All that is kept in a cluster for a relay and can be made again at any time, in the order in which it is written. */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiKind, ApiObject } from '../api.ts';
import { certificate } from './certificate.ts';
import { configSecrets } from './config-secrets.ts';
import { disruptionBudget } from './disruption-budget.ts';
import {
  CERTIFICATE,
  DISRUPTION_BUDGET,
  NETWORK_POLICY,
  POD_MONITOR,
  SECRET,
  SERVICE,
  SERVICE_ACCOUNT,
  STATEFUL_SET,
} from './kinds.ts';
import { networkPolicy } from './network-policy.ts';
import { podMonitor } from './pod-monitor.ts';
import { serviceAccount } from './service-account.ts';
import { services } from './services.ts';
import { type Rollout, statefulSet } from './stateful-set.ts';

export interface Child {
  readonly kind: ApiKind;
  readonly object: ApiObject;
}

export interface ChildrenOptions extends Rollout {
  /** Where the operator runs, if in this cluster. */
  readonly operatorNamespace?: string | undefined;
  /** Which of the optional kinds the cluster has. */
  readonly served: ReadonlySet<ApiKind>;
}

/** What pods need comes before them. */
export function children(group: RelayGroup, options: ChildrenOptions): readonly Child[] {
  const { served } = options;
  const request = group.certificateRequest;
  const policy = networkPolicy(group, options.operatorNamespace);
  const of = (kind: ApiKind, objects: readonly ApiObject[]): Child[] => objects.map((object) => ({ kind, object }));
  return [
    ...of(SECRET, configSecrets(group)),
    ...of(SERVICE_ACCOUNT, [serviceAccount(group)]),
    ...of(SERVICE, services(group)),
    ...of(NETWORK_POLICY, policy ? [policy] : []),
    ...of(DISRUPTION_BUDGET, [disruptionBudget(group)]),
    ...of(POD_MONITOR, served.has(POD_MONITOR) ? [podMonitor(group)] : []),
    ...of(CERTIFICATE, request && served.has(CERTIFICATE) ? [certificate(group, request)] : []),
    ...of(STATEFUL_SET, [statefulSet(group, options)]),
  ];
}
