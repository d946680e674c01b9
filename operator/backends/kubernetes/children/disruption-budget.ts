/** A drain of nodes takes one replica at a time, and any that is not ready: such a one holds nothing up. */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { meta, selectorLabels } from './identity.ts';

export const disruptionBudget = (group: RelayGroup): ApiObject => ({
  apiVersion: 'policy/v1',
  kind: 'PodDisruptionBudget',
  metadata: meta(group, group.name),
  spec: {
    maxUnavailable: 1,
    unhealthyPodEvictionPolicy: 'AlwaysAllow',
    selector: { matchLabels: selectorLabels(group.name) },
  },
});
