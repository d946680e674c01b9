/** A namespace of a test's own. */
import { randomBytes } from 'node:crypto';
import type { Kubectl } from './kubectl.ts';

export interface Namespace extends AsyncDisposable {
  readonly name: string;
}

/** Pods that do not keep to the restricted profile are refused there (Pod Security Standards). */
export const RESTRICTED = { 'pod-security.kubernetes.io/enforce': 'restricted' };

/** Makes one; it goes, and all in it, when it is disposed of. */
export async function makeNamespace(
  kubectl: Kubectl,
  labels: Readonly<Record<string, string>>,
  name = `test-${randomBytes(4).toString('hex')}`,
): Promise<Namespace> {
  await kubectl.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
  const remove = () => kubectl.run('delete', 'namespace', name, '--wait=false');
  return { name, [Symbol.asyncDispose]: async () => void (await remove()) };
}
