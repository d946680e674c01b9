/** Why a pod does not run, for a person: what it is, and what to do about it. */
import type { RelayReplica } from '../../backend.ts';
import type { Pod } from './pod.ts';

type Problem = NonNullable<RelayReplica['problem']>;
type Check = (pod: Pod) => Problem | undefined;

/** In the order in which they are asked: what comes first hides what comes after. */
const CHECKS: readonly Check[] = [hasNoNode, hasNoImage, isMisconfigured, ranOutOfMemory, failsAgainAndAgain];

export function podProblem(pod: Pod): Problem | undefined {
  if (pod.deleting) return undefined;
  for (const check of CHECKS) {
    const problem = check(pod);
    if (problem) return problem;
  }
  return undefined;
}

function hasNoNode({ name, unscheduled }: Pod): Problem | undefined {
  if (unscheduled === undefined) return undefined;
  const advice = /unbound|volume|PersistentVolumeClaim/i.test(unscheduled)
    ? 'give the cluster a volume that fits its claim, or another spec.queue.storage.storageClassName'
    : 'make room, or change spec.podTemplate';
  return { reason: 'Unschedulable', message: `pod ${name} fits no node (${told(unscheduled)}): ${advice}.` };
}

const IMAGE_REASONS = ['ImagePullBackOff', 'ErrImagePull', 'InvalidImageName', 'ErrImageNeverPull'];

function hasNoImage({ name, relay }: Pod): Problem | undefined {
  const waiting = relay?.waiting;
  if (!waiting || !IMAGE_REASONS.includes(waiting.reason)) return undefined;
  const advice = 'check spec.image and spec.podTemplate.imagePullSecrets, or the --relay-image of the operator';
  return { reason: waiting.reason, message: `pod ${name} cannot get its image (${told(waiting.message)}): ${advice}.` };
}

const CONFIG_REASONS = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];

function isMisconfigured({ name, relay }: Pod): Problem | undefined {
  const waiting = relay?.waiting;
  if (!waiting || !CONFIG_REASONS.includes(waiting.reason)) return undefined;
  const advice = 'kubectl describe the pod, and check spec.podTemplate';
  return { reason: waiting.reason, message: `pod ${name} cannot be started (${told(waiting.message)}): ${advice}.` };
}

function ranOutOfMemory({ name, ready, relay }: Pod): Problem | undefined {
  if (ready || relay?.ended?.reason !== 'OOMKilled') return undefined;
  const message = `pod ${name} was killed for want of memory: raise spec.podTemplate.resources.limits.memory.`;
  return { reason: 'OutOfMemory', message };
}

function failsAgainAndAgain({ namespace, name, relay }: Pod): Problem | undefined {
  if (relay?.waiting?.reason !== 'CrashLoopBackOff') return undefined;
  const code = relay.ended?.exitCode;
  const how = code === undefined ? '' : `, the last time with exit code ${code}`;
  const message = `pod ${name} has ended ${relay.restarts} times${how}: see kubectl logs -n ${namespace} ${name} --previous.`;
  return { reason: 'CrashLoopBackOff', message };
}

const LONGEST = 300;
const told = (message: string): string => {
  const line = message.replaceAll(/\s+/g, ' ').replace(/\.$/, '');
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}...` : line || 'no reason is given';
};
