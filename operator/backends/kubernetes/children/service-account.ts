/** Replicas never speak to the Kubernetes API: their account has no token, and no role. */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { meta } from './identity.ts';

export const serviceAccount = (group: RelayGroup): ApiObject => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: meta(group, group.name),
  automountServiceAccountToken: false,
});
