import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { relay } from './cases/manifests.ts';
import { completeSpec } from './validate.ts';

const pods = (fields: object) => relay({ podTemplate: fields });

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
