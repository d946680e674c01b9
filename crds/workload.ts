/**
 * Where and how the replicas of a relay run: what a cluster is told of them. In the spelling of Kubernetes where it has
 * a word for it. On one machine these fields are accepted, judged, and of no effect.
 */
import Type from 'typebox';
import * as common from './common.ts';
import { expressions, labelSelector, SET_OPERATORS } from './label-selector.ts';

const text = (description: string, maxLength = 253) => Type.String({ description, minLength: 1, maxLength });

const NODE_OPERATORS = [...SET_OPERATORS, 'Gt', 'Lt'];
const nodeTerm = (description: string) =>
  Type.Object(
    {
      matchExpressions: Type.Optional(expressions('Conditions on labels of the node.', NODE_OPERATORS)),
      matchFields: Type.Optional(expressions('Conditions on fields of the node.', NODE_OPERATORS)),
    },
    { description },
  );

const weight = Type.Integer({ description: 'How much it counts.', minimum: 1, maximum: 100 });

const podTerm = (description: string) =>
  Type.Object(
    {
      labelSelector: Type.Optional(labelSelector('Pods that are meant.')),
      namespaceSelector: Type.Optional(labelSelector('Namespaces of these pods; left out: that of the relay.')),
      topologyKey: text('Label of nodes that tells which of them are near each other.', 317),
    },
    { description },
  );

const podAffinity = (description: string) =>
  Type.Optional(
    Type.Object(
      {
        requiredDuringSchedulingIgnoredDuringExecution: Type.Optional(
          Type.Array(podTerm('Pods, and how near.'), { description: 'Must hold.', maxItems: 8 }),
        ),
        preferredDuringSchedulingIgnoredDuringExecution: Type.Optional(
          Type.Array(
            Type.Object({ weight, podAffinityTerm: podTerm('Pods, and how near.') }, { description: 'A preference.' }),
            { description: 'Counts where it holds.', maxItems: 8 },
          ),
        ),
      },
      { description },
    ),
  );

const affinity = Type.Object(
  {
    nodeAffinity: Type.Optional(
      Type.Object(
        {
          requiredDuringSchedulingIgnoredDuringExecution: Type.Optional(
            Type.Object(
              {
                nodeSelectorTerms: Type.Array(nodeTerm('Nodes for which all of it holds.'), {
                  description: 'One of them must hold.',
                  minItems: 1,
                  maxItems: 8,
                }),
              },
              { description: 'Must hold.' },
            ),
          ),
          preferredDuringSchedulingIgnoredDuringExecution: Type.Optional(
            Type.Array(
              Type.Object(
                { weight, preference: nodeTerm('Nodes for which all of it holds.') },
                { description: 'A preference.' },
              ),
              { description: 'Counts where it holds.', maxItems: 8 },
            ),
          ),
        },
        { description: 'Which nodes.' },
      ),
    ),
    podAffinity: podAffinity('Near which pods.'),
    podAntiAffinity: podAffinity('Away from which pods.'),
  },
  { description: 'Which nodes a replica may or should run on.' },
);

const toleration = Type.Object(
  {
    key: Type.Optional(text('The taint; left out: every one.', 317)),
    operator: Type.Optional(common.oneOf(['Equal', 'Exists'], { description: 'Left out: Equal.' })),
    value: Type.Optional(Type.String({ description: 'Value of the taint.', maxLength: 63 })),
    effect: Type.Optional(
      common.oneOf(['NoSchedule', 'PreferNoSchedule', 'NoExecute'], { description: 'Left out: every one.' }),
    ),
    tolerationSeconds: Type.Optional(
      Type.Integer({ description: 'How long NoExecute is borne.', minimum: 0, maximum: 31_536_000 }),
    ),
  },
  { description: 'A taint that is borne.' },
);

const spread = Type.Object(
  {
    maxSkew: Type.Integer({ description: 'How uneven it may be.', minimum: 1, maximum: 100 }),
    topologyKey: text('Label of nodes over whose values replicas are spread.', 317),
    whenUnsatisfiable: common.oneOf(['DoNotSchedule', 'ScheduleAnyway'], {
      description: 'What to do when it cannot be.',
    }),
    minDomains: Type.Optional(Type.Integer({ description: 'Fewest values.', minimum: 1, maximum: 100 })),
    labelSelector: Type.Optional(labelSelector('Pods that count; left out: the replicas of the relay.')),
  },
  { description: 'How replicas are spread.' },
);

const amounts = (description: string) =>
  common.stringMap(`${description} Such as cpu: 500m or memory: 1Gi; a bare number is quoted.`, 16, {
    maxLength: 20,
    pattern: '^[0-9]{1,12}(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$',
  });

export const podTemplate = common.section(
  'Of the pods of the replicas. A change replaces them one by one. Of no effect on one machine.',
  {
    labels: common.stringMap('Further labels.', 32),
    annotations: common.stringMap('Further annotations.', 32, { maxLength: 4096 }),
    nodeSelector: common.stringMap('Labels that a node must have.', 16),
    tolerations: Type.Array(toleration, { description: 'Taints that are borne.', maxItems: 16, default: [] }),
    affinity: Type.Optional(affinity),
    topologySpreadConstraints: Type.Array(spread, {
      description: 'How replicas are spread; none: over the nodes where that can be.',
      maxItems: 8,
      default: [],
    }),
    resources: common.section('What a replica needs; none: 100m CPU and 256Mi of memory are asked for.', {
      requests: amounts('What is set aside for it.'),
      limits: amounts('What it may not exceed.'),
    }),
    priorityClassName: Type.Optional(text('The PriorityClass.')),
    imagePullSecrets: Type.Array(
      Type.Object({ name: text('Name of the Secret.') }, { description: 'A Secret of the namespace of the relay.' }),
      { description: 'By which the image is pulled.', maxItems: 8, default: [] },
    ),
  },
);

export const image = Type.Optional(
  Type.String({
    description: 'Image that the pods run; left out: the one that the operator was given. Of no effect on one machine.',
    minLength: 1,
    maxLength: 512,
    pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]*$',
  }),
);

const retention = (description: string) =>
  common.oneOf(['Retain', 'DeleteIfEmpty'], {
    description: `${description} Retain: kept. DeleteIfEmpty: deleted, if its queue was seen to be empty.`,
    default: 'Retain',
  });

export const storage = common.section('The volume of the queue of one replica. Of no effect on one machine.', {
  size: common.quantity('Size of the volume; it can grow where its storage class lets it, and never shrinks.', '10Gi'),
  storageClassName: Type.Optional(text('The StorageClass; left out: the default one. Volumes that exist keep theirs.')),
  retentionPolicy: common.section('What becomes of volumes that are no longer needed.', {
    whenScaled: retention('After replicas were made fewer.'),
    whenDeleted: retention('After the relay was deleted.'),
  }),
});

const Service = Type.Object(
  {
    name: common.objectName("The Service is named RELAY-NAME. Not pods, which is the name of the replicas' own.", 20),
    type: common.oneOf(['ClusterIP', 'NodePort', 'LoadBalancer'], {
      description: 'Where it can be reached from.',
      default: 'ClusterIP',
    }),
    listeners: Type.Array(common.objectName('Name of a listener.', 15), {
      description: 'Listeners that it leads to; none: all of them.',
      maxItems: 16,
      default: [],
      'x-kubernetes-list-type': 'set',
    }),
    annotations: common.stringMap('Annotations, such as a cloud reads them.', 32, { maxLength: 4096 }),
    loadBalancerClass: Type.Optional(text('Who makes the load balancer; left out: the default one of the cluster.')),
    externalTrafficPolicy: common.oneOf(['Cluster', 'Local'], {
      description:
        'Local: replicas see the address of the client. Cluster: any node takes connections, under its own address.',
      default: 'Cluster',
    }),
    ipFamilyPolicy: Type.Optional(
      common.oneOf(['SingleStack', 'PreferDualStack', 'RequireDualStack'], {
        description: 'IPv4, IPv6, or both; left out: as the cluster does.',
      }),
    ),
  },
  { description: 'A further way to the listeners.' },
);

export const services = Type.Array(Service, {
  ...common.namedList(
    'Services beside the one of type ClusterIP that every relay has, under its own name. Of no effect on one machine.',
    8,
  ),
  default: [],
});

const Peer = Type.Object(
  {
    podSelector: Type.Optional(labelSelector('Pods.')),
    namespaceSelector: Type.Optional(labelSelector('Namespaces of the pods; left out: that of the relay.')),
    ipBlock: Type.Optional(
      Type.Object(
        {
          cidr: common.network,
          except: Type.Optional(Type.Array(common.network, { description: 'But not these.', maxItems: 16 })),
        },
        { description: 'A network, instead of pods.' },
      ),
    ),
  },
  { description: 'Pods or a network.' },
);

export const networkPolicy = common.section(
  'Who may connect to the replicas, where the cluster has means to see to it. Of no effect on one machine.',
  {
    mode: common.oneOf(['Managed', 'Disabled'], {
      description: 'Managed: a NetworkPolicy is kept. Disabled: there is none.',
      default: 'Managed',
    }),
    clients: Type.Array(Peer, {
      description: 'Who may connect to the listeners; none: everybody.',
      maxItems: 32,
      default: [],
    }),
    monitoring: Type.Array(Peer, {
      description: 'Who may read metrics and health; none: everybody.',
      maxItems: 32,
      default: [],
    }),
  },
);
