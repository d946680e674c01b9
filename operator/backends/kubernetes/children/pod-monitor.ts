/** Tells the Prometheus operator where the metrics are. */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { meta, selectorLabels } from './identity.ts';

export const podMonitor = (group: RelayGroup): ApiObject => ({
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PodMonitor',
  metadata: meta(group, group.name),
  spec: {
    selector: { matchLabels: selectorLabels(group.name) },
    podMetricsEndpoints: [{ port: 'monitoring', path: '/metrics' }],
  },
});
