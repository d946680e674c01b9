/**
 * Who may connect to replicas. What leaves them is not limited: mail goes to any MX. The admin API is for the other
 * replicas, which hand mail over, and for the operator; it asks for a token in any case. The kubelet's probes come from
 * the node, which every network plugin lets in (https://kubernetes.io/docs/concepts/services-networking/network-policies/).
 */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { ADMIN_PORT, bindPort, meta, selectorLabels } from './identity.ts';

/** @param operatorNamespace where the operator runs, if in this cluster */
export function networkPolicy(group: RelayGroup, operatorNamespace: string | undefined): ApiObject | undefined {
  const { mode, clients, monitoring } = group.workload.networkPolicy;
  if (mode === 'Disabled') return undefined;
  const replicas = { podSelector: { matchLabels: selectorLabels(group.name) } };
  const operator = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': operatorNamespace ?? '' } } };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: meta(group, group.name),
    spec: {
      podSelector: { matchLabels: selectorLabels(group.name) },
      policyTypes: ['Ingress'],
      ingress: [
        rule(
          clients,
          group.listeners.map(({ port }) => bindPort(port)),
        ),
        rule(monitoring, [group.monitoringPort]),
        rule([replicas, ...(operatorNamespace === undefined ? [] : [operator])], [ADMIN_PORT]),
      ],
    },
  };
}

/** A rule without peers lets everybody in. */
const rule = (from: readonly object[], ports: readonly number[]) => ({
  ...(from.length > 0 && { from }),
  ports: ports.map((port) => ({ port, protocol: 'TCP' })),
});
