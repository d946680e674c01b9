/**
 * The replicas: pods with an ordinal, each with a claim for its queue that outlives it. The pod template holds neither
 * the config nor a hash of it, nor a port of a listener: an edit of these reaches running pods. What stands here rolls
 * every pod when it changes, at an upgrade of the operator too: a test pins it.
 */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { CLAIM, LABELS, meta, podLabels, podsServiceName, selectorLabels } from './identity.ts';
import { podSpec } from './pod.ts';

export interface Rollout {
  /** Image, where the spec names none. */
  readonly image: string;
  /** Pods, those that still drain included. */
  readonly replicas: number;
  /** Of a claim that is made from now on: volumes never shrink. */
  readonly storageSize: string;
}

export function statefulSet(group: RelayGroup, { image, replicas, storageSize }: Rollout): ApiObject {
  const { podTemplate, storage } = group.workload;
  const { annotations } = podTemplate;
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: meta(group, group.name),
    spec: {
      replicas,
      serviceName: podsServiceName(group.name),
      selector: { matchLabels: selectorLabels(group.name) },
      // Of scaling alone: a rolling update takes one pod at a time in any case.
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'RollingUpdate' },
      minReadySeconds: 0,
      revisionHistoryLimit: 3,
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      template: {
        metadata: {
          // A pod takes mail while no operator is there to say so.
          labels: { ...podTemplate.labels, ...podLabels(group.name), [LABELS.acceptsMail]: 'true' },
          ...(Object.keys(annotations).length > 0 && { annotations }),
        },
        spec: podSpec(group, image),
      },
      volumeClaimTemplates: [
        {
          metadata: { name: CLAIM, labels: podLabels(group.name) },
          spec: {
            accessModes: ['ReadWriteOnce'],
            resources: { requests: { storage: storageSize } },
            ...(storage.storageClassName !== undefined && { storageClassName: storage.storageClassName }),
          },
        },
      ],
    },
  };
}
