/**
 * Volumes of a test node: a class whose volumes are folders, made beforehand since nobody provisions them. `local` and
 * not hostPath, so that a pod's fsGroup counts. What was claimed once is not given to another claim.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from './layout.ts';

const VOLUMES = 40;
/** Of each mode a volume, since a volume for one pod is for nobody else. */
const MODES = ['ReadWriteOnce', 'ReadWriteOncePod'] as const;
const CLASS = 'local';

/** Makes the folders; returns the objects. */
export async function makeVolumes(): Promise<readonly object[]> {
  const volumes = MODES.flatMap((mode) =>
    Array.from({ length: VOLUMES }, (_, index) => ({ mode, name: `${mode.toLowerCase()}-${index}` })),
  );
  for (const { name } of volumes) await mkdir(join(ROOT, 'volumes', name), { recursive: true });
  const here = [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['node1'] }];
  return [
    {
      ...{ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass' },
      metadata: { name: CLASS, annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'WaitForFirstConsumer',
      allowVolumeExpansion: true,
    },
    ...volumes.map(({ name, mode }) => ({
      ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name } },
      spec: {
        ...{ storageClassName: CLASS, accessModes: [mode] },
        ...{ capacity: { storage: '10Gi' }, persistentVolumeReclaimPolicy: 'Retain' },
        local: { path: join(ROOT, 'volumes', name) },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: here }] } },
      },
    })),
  ];
}
