/**
 * Services: one under the relay's own name, by which every client in the cluster finds it; a headless one, by whose
 * names replicas find each other, ready or not; and those that the spec lists.
 */
import type { GroupListener, RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { ADMIN_PORT, bindPort, LABELS, meta, podsServiceName, selectorLabels } from './identity.ts';

export const services = (group: RelayGroup): readonly ApiObject[] => [
  clientService(group),
  podsService(group),
  ...group.workload.services.map((wanted) => furtherService(group, wanted)),
];

const service = (
  group: RelayGroup,
  name: string,
  spec: object,
  annotations?: ApiObject['metadata']['annotations'],
) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { ...meta(group, name), ...(annotations && { annotations }) },
  spec,
});

/** A replica that drains is not selected: it would answer 421. */
const clientSelector = (relay: string) => ({ ...selectorLabels(relay), [LABELS.acceptsMail]: 'true' });

const ports = (listeners: readonly GroupListener[]) =>
  listeners.map(({ name, port }) => ({ name, port, targetPort: bindPort(port), protocol: 'TCP' }));

const clientService = (group: RelayGroup): ApiObject =>
  service(group, group.name, {
    type: 'ClusterIP',
    selector: clientSelector(group.name),
    ports: ports(group.listeners),
  });

const podsService = (group: RelayGroup): ApiObject =>
  service(group, podsServiceName(group.name), {
    type: 'ClusterIP',
    clusterIP: 'None',
    // A replica that drains hands over to those that are there, whether clients are sent to them or not.
    publishNotReadyAddresses: true,
    selector: selectorLabels(group.name),
    ports: [{ name: 'admin', port: ADMIN_PORT, targetPort: ADMIN_PORT, protocol: 'TCP' }],
  });

function furtherService(group: RelayGroup, wanted: RelayGroup['workload']['services'][number]): ApiObject {
  const { name, type, listeners, annotations, loadBalancerClass, externalTrafficPolicy, ipFamilyPolicy } = wanted;
  const led = group.listeners.filter((listener) => listeners.length === 0 || listeners.includes(listener.name));
  const spec = {
    type,
    selector: clientSelector(group.name),
    ports: ports(led),
    ...(type !== 'ClusterIP' && { externalTrafficPolicy }),
    ...(loadBalancerClass !== undefined && { loadBalancerClass }),
    ...(ipFamilyPolicy !== undefined && { ipFamilyPolicy }),
  };
  return service(group, `${group.name}-${name}`, spec, annotations);
}
