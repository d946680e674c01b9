import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { podOf } from './pod.ts';
import { podProblem } from './pod-problem.ts';

const pod = (status: object, metadata: object = {}) => {
  const meta = { namespace: 'mail', name: 'outbound-1', uid: 'u', resourceVersion: '1', creationTimestamp: '' };
  const read = podOf({ apiVersion: 'v1', kind: 'Pod', metadata: { ...meta, ...metadata }, status });
  assert.ok(read);
  return read;
};
const container = (fields: object) => ({ containerStatuses: [{ name: 'relay', restartCount: 7, ...fields }] });
const waiting = (reason: string, message?: string) => container({ state: { waiting: { reason, message } } });
const unscheduled = (message: string) => ({
  conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }],
});

describe('why a pod does not run', () => {
  const cases: readonly [sentence: string, status: object, reason: string, message: RegExp][] = [
    [
      'no node has room',
      unscheduled('0/3 nodes are available: 3 Insufficient memory.'),
      'Unschedulable',
      /Insufficient memory\): make room/,
    ],
    [
      'there is no volume for its claim',
      unscheduled('pod has unbound immediate PersistentVolumeClaims.'),
      'Unschedulable',
      /storageClassName/,
    ],
    [
      'its image cannot be had',
      waiting('ImagePullBackOff', 'Back-off pulling x'),
      'ImagePullBackOff',
      /\(Back-off pulling x\): check spec.image/,
    ],
    [
      'a Secret that it mounts is missing',
      waiting('CreateContainerConfigError', 'secret "x" not found'),
      'CreateContainerConfigError',
      /secret "x"/,
    ],
    [
      'it was killed for want of memory',
      container({
        state: { waiting: { reason: 'CrashLoopBackOff' } },
        lastState: { terminated: { reason: 'OOMKilled', exitCode: 137 } },
      }),
      'OutOfMemory',
      /raise spec.podTemplate.resources.limits.memory/,
    ],
    [
      'it ends again and again',
      container({ state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode: 70 } } }),
      'CrashLoopBackOff',
      /ended 7 times, the last time with exit code 70: see kubectl logs -n mail outbound-1 --previous/,
    ],
  ];
  for (const [sentence, status, reason, message] of cases) {
    it(sentence, () => {
      const problem = podProblem(pod(status));
      assert.equal(problem?.reason, reason);
      assert.match(problem.message, message);
    });
  }

  it('is told in one line, however long Kubernetes makes it', () => {
    const message = podProblem(pod(unscheduled(`a\nb${'x'.repeat(10_000)}`)))?.message ?? '';
    assert.ok(!message.includes('\n') && message.length < 600);
  });

  const fine: readonly [sentence: string, status: object, metadata?: object][] = [
    ['it is just being made', waiting('ContainerCreating')],
    [
      'it runs after it was killed for want of memory',
      {
        ...container({ lastState: { terminated: { reason: 'OOMKilled' } } }),
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    ],
    ['it is meant to end', waiting('CrashLoopBackOff'), { deletionTimestamp: '2026-01-01T00:00:00Z' }],
    ['it says nothing that is understood', { containerStatuses: 'x' }],
  ];
  for (const [sentence, status, metadata] of fine) {
    it(`is nothing when ${sentence}`, () => assert.equal(podProblem(pod(status, metadata)), undefined));
  }
});
