import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { completeSpec, validateManifest } from './validate.ts';

const relay = (spec: object) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpRelay',
  metadata: { name: 'outbound' },
  spec: { hostname: 'relay.example.test', listeners: [{ name: 'smtp', protocol: 'Submission', port: 587 }], ...spec },
});
const service = (fields: object) => relay({ services: [{ name: 'public', ...fields }] });
const pods = (fields: object) => relay({ podTemplate: fields });
const storage = (fields: object, queue: object = {}) => relay({ queue: { storage: fields, ...queue } });

describe('where replicas run: what an API server would refuse', () => {
  const refused: [sentence: string, manifest: unknown, field: string, message: RegExp][] = [
    [
      'a Service for a listener that is not there',
      service({ listeners: ['mx'] }),
      'services[0].listeners[0]',
      /no list/,
    ],
    [
      'a Service named as that of the replicas',
      relay({ services: [{ name: 'pods' }] }),
      'services[0].name',
      /replicas/,
    ],
    ['two Services of one name', relay({ services: [{ name: 'a' }, { name: 'a' }] }), 'services[1]', /same name/],
    [
      'Local where every client is in the cluster',
      service({ externalTrafficPolicy: 'Local' }),
      'services[0].externalTrafficPolicy',
      /NodePort and LoadBalancer/,
    ],
    [
      'a class of load balancers for a NodePort',
      service({ type: 'NodePort', loadBalancerClass: 'x/y' }),
      'services[0].loadBalancerClass',
      /type LoadBalancer/,
    ],
    ['a volume of no size', storage({ size: '0' }), 'queue.storage.size', /more than 64Mi/],
    [
      'a volume that is all reserve',
      storage({ size: '1Gi' }, { minFree: '1024Mi' }),
      'queue.storage.size',
      /more than .* queue.minFree \(1024Mi\)/,
    ],
    [
      'an amount that is a number',
      pods({ resources: { requests: { cpu: 1 } } }),
      'podTemplate.resources.requests.cpu',
      /a string, not 1/,
    ],
    [
      'an amount that is none',
      pods({ resources: { limits: { cpu: 'much' } } }),
      'podTemplate.resources.limits.cpu',
      /does not fit/,
    ],
    [
      'a label that is too long',
      pods({ nodeSelector: { a: 'x'.repeat(64) } }),
      'podTemplate.nodeSelector.a',
      /at most 63/,
    ],
    ['a field of PodSpec that is not taken', pods({ hostNetwork: true }), 'podTemplate.hostNetwork', /unknown field/],
    ['an image with a blank', relay({ image: 'a b' }), 'image', /does not fit/],
  ];
  for (const [sentence, manifest, field, message] of refused) {
    test(sentence, () => {
      const { problems } = validateManifest(manifest);
      assert.equal(problems[0]?.field, `spec.${field}`);
      assert.match(problems[0]?.message ?? '', message);
    });
  }
});

describe('where replicas run: what is taken', () => {
  const affinity = {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] }],
      },
    },
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 1, podAffinityTerm: { labelSelector: { matchLabels: { a: 'b' } }, topologyKey: 'zone' } },
      ],
    },
  };

  test('an affinity as a pod has it, without a field that was not given', () => {
    assert.deepEqual(completeSpec('SmtpRelay', pods({ affinity }).spec).podTemplate.affinity, affinity);
  });

  test('amounts in the units of Kubernetes', () => {
    const requests = { cpu: '1.5', memory: '2Gi', 'ephemeral-storage': '100M' };
    const spec = completeSpec('SmtpRelay', pods({ resources: { requests } }).spec);
    assert.deepEqual(spec.podTemplate.resources, { requests, limits: {} });
  });
});
