/** Manifests that are wrong in where and how the replicas of a relay run. */
import { type RefusedCase, relay } from './manifests.ts';

const service = (fields: object) => relay({ services: [{ name: 'public', ...fields }] });
const pods = (fields: object) => relay({ podTemplate: fields });
const storage = (fields: object, queue: object = {}) => relay({ queue: { storage: fields, ...queue } });

export const WORKLOAD: readonly RefusedCase[] = [
  [
    'a Service for a listener that is not there',
    service({ listeners: ['mx'] }),
    'spec.services[0].listeners[0]',
    /no list/,
    'spec.services',
  ],
  [
    'a Service named as that of the replicas',
    relay({ services: [{ name: 'pods' }] }),
    'spec.services[0].name',
    /replicas/,
  ],
  ['two Services of one name', relay({ services: [{ name: 'a' }, { name: 'a' }] }), 'spec.services[1]', /same name/],
  [
    'Local where every client is in the cluster',
    service({ externalTrafficPolicy: 'Local' }),
    'spec.services[0].externalTrafficPolicy',
    /NodePort and LoadBalancer/,
  ],
  [
    'a class of load balancers for a NodePort',
    service({ type: 'NodePort', loadBalancerClass: 'x/y' }),
    'spec.services[0].loadBalancerClass',
    /type LoadBalancer/,
  ],
  ['a volume of no size', storage({ size: '0' }), 'spec.queue.storage.size', /more than 64Mi/],
  [
    'a volume that is all reserve',
    storage({ size: '1Gi' }, { minFree: '1024Mi' }),
    'spec.queue.storage.size',
    /more than .* queue.minFree \(1024Mi\)/,
  ],
  [
    'an amount that is a number',
    pods({ resources: { requests: { cpu: 1 } } }),
    'spec.podTemplate.resources.requests.cpu',
    /a string, not 1/,
  ],
  [
    'an amount that is none',
    pods({ resources: { limits: { cpu: 'much' } } }),
    'spec.podTemplate.resources.limits.cpu',
    /does not fit/,
  ],
  [
    'a label that is too long',
    pods({ nodeSelector: { a: 'x'.repeat(64) } }),
    'spec.podTemplate.nodeSelector.a',
    /at most 63/,
  ],
  [
    'a field of PodSpec that is not taken',
    pods({ hostNetwork: true }),
    'spec.podTemplate.hostNetwork',
    /unknown field/,
  ],
  ['an image with a blank', relay({ image: 'a b' }), 'spec.image', /does not fit/],
];
