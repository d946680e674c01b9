/** The pod of a replica: fit for the restricted Pod Security profile, with one container, the relay. */
import { DOMAIN_SHARDS, domainShardFile, USER_SHARDS, userShardFile } from '../../../../relay/config/documents.ts';
import type { RelayGroup, RelayWorkload } from '../../../backend.ts';
import {
  ADMIN_PORT,
  adminSecretName,
  CLAIM,
  configSecretName,
  LABELS,
  selectorLabels,
  shardSecretName,
} from './identity.ts';

/** The user that the image is made for. */
const USER = 65532;
/** For the owner and the group that a mounted Secret has: as the relay asks it of its tokens. */
const OWNER_AND_GROUP = 0o440;

/** Endpoints hear of a pod that stops a little later; then what is in hand has 10 s to end, and the spool to close. */
const ACCEPT_AFTER_STOP = '5s';
const GRACE_SECONDS = 30;

const CONFIG = '/etc/chasqui/config';
const TOKENS = '/etc/chasqui/admin';
/** Beside the config folder: there the relay looks for it. */
const REFERENCES = '/etc/chasqui/references';
const RUN = '/run/chasqui';
const STATE = '/var/lib/chasqui';

export function podSpec(group: RelayGroup, operatorImage: string): object {
  const { podTemplate, image = operatorImage } = group.workload;
  const { nodeSelector, tolerations, affinity, priorityClassName, imagePullSecrets } = podTemplate;
  return {
    serviceAccountName: group.name,
    automountServiceAccountToken: false,
    // One environment variable for each Service of the namespace is of no use here.
    enableServiceLinks: false,
    terminationGracePeriodSeconds: GRACE_SECONDS,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      // A queue of many files is not walked through at each start.
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [container(group, image)],
    volumes: [...volumes(group.name), ...referenceVolume(group.workload)],
    topologySpreadConstraints: spread(group.name, podTemplate),
    ...(Object.keys(nodeSelector).length > 0 && { nodeSelector }),
    ...(tolerations.length > 0 && { tolerations }),
    ...(affinity && { affinity }),
    ...(priorityClassName !== undefined && { priorityClassName }),
    ...(imagePullSecrets.length > 0 && { imagePullSecrets }),
  };
}

const container = ({ monitoringPort, workload }: RelayGroup, image: string): object => ({
  name: 'relay',
  image,
  imagePullPolicy: 'IfNotPresent',
  args: [
    'relay',
    ...['--config', CONFIG],
    ...['--spool', `${STATE}/spool`],
    ...['--ordinal', '$(POD_INDEX)'],
    ...['--admin', `${RUN}/admin.sock`],
    ...['--admin-listen', `0.0.0.0:${ADMIN_PORT}`],
    ...['--admin-view-token', `${TOKENS}/view`],
    ...['--admin-operate-token', `${TOKENS}/operate`],
    ...['--monitoring', '0.0.0.0'],
    ...['--accept-after-stop', ACCEPT_AFTER_STOP],
  ],
  env: [{ name: 'POD_INDEX', valueFrom: { fieldRef: { fieldPath: `metadata.labels['${LABELS.podIndex}']` } } }],
  ports: [
    { name: 'monitoring', containerPort: monitoringPort, protocol: 'TCP' },
    { name: 'admin', containerPort: ADMIN_PORT, protocol: 'TCP' },
  ],
  // A spool that was damaged is read through before anything answers.
  startupProbe: { ...probe('/healthz'), periodSeconds: 2, failureThreshold: 900 },
  livenessProbe: { ...probe('/healthz'), periodSeconds: 10, failureThreshold: 6 },
  readinessProbe: { ...probe('/readyz'), periodSeconds: 2, failureThreshold: 2 },
  resources: resources(workload),
  securityContext: {
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  },
  volumeMounts: [
    { name: 'config', mountPath: CONFIG, readOnly: true },
    { name: 'admin', mountPath: TOKENS, readOnly: true },
    { name: 'run', mountPath: RUN },
    { name: CLAIM, mountPath: STATE },
    ...(workload.references ? [{ name: 'references', mountPath: REFERENCES, readOnly: true }] : []),
  ],
});

const probe = (path: string) => ({ httpGet: { path, port: 'monitoring' }, timeoutSeconds: 5 });

function resources({ podTemplate: { resources: given } }: RelayWorkload): object {
  const asked = Object.fromEntries(Object.entries(given).filter(([, amounts]) => Object.keys(amounts).length > 0));
  return Object.keys(asked).length > 0 ? asked : { requests: { cpu: '100m', memory: '256Mi' } };
}

/** All shards are declared from the first day: a mount that is added would be another pod. */
function volumes(relay: string): readonly object[] {
  const shards = [
    ...Array.from({ length: DOMAIN_SHARDS }, (_, index) => domainShardFile(index)),
    ...Array.from({ length: USER_SHARDS }, (_, index) => userShardFile(index)),
  ];
  return [
    {
      name: 'config',
      projected: {
        defaultMode: OWNER_AND_GROUP,
        sources: [
          { secret: { name: configSecretName(relay) } },
          ...shards.map((file) => ({ secret: { name: shardSecretName(relay, file), optional: true } })),
        ],
      },
    },
    { name: 'admin', secret: { secretName: adminSecretName(relay), defaultMode: OWNER_AND_GROUP } },
    { name: 'run', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ];
}

/**
 * What smarthosts ask for. One that is missing keeps no pod from starting: mail for that smarthost waits, and says why;
 * and it is there soon after it is made, without another pod.
 */
const referenceVolume = ({ references = [] }: RelayWorkload): readonly object[] =>
  references.length === 0
    ? []
    : [
        {
          name: 'references',
          projected: {
            defaultMode: OWNER_AND_GROUP,
            sources: references.map((name) => ({
              secret: {
                ...{ name, optional: true },
                items: ['username', 'password'].map((key) => ({ key, path: `${name}/${key}` })),
              },
            })),
          },
        },
      ];

/** One node that fails takes as few replicas with it as can be. */
function spread(relay: string, { topologySpreadConstraints }: RelayWorkload['podTemplate']): readonly object[] {
  const replicas = { matchLabels: selectorLabels(relay) };
  if (topologySpreadConstraints.length === 0) {
    const [topologyKey, whenUnsatisfiable] = ['kubernetes.io/hostname', 'ScheduleAnyway'];
    return [{ maxSkew: 1, topologyKey, whenUnsatisfiable, labelSelector: replicas }];
  }
  return topologySpreadConstraints.map((constraint) => ({ labelSelector: replicas, ...constraint }));
}
