/** The programs that a Kubernetes for tests is made of: built on first use (`binaries/build` says how and where). */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BUILD = join(import.meta.dirname, 'binaries/build');

export type Program =
  | 'etcd'
  | 'kube-apiserver'
  | 'kubectl'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'kubelet'
  | 'kube-proxy'
  | 'pause'
  | 'coredns'
  | 'helm'
  | 'cert-manager'
  | 'external-dns';

/** Path of a program. The first call on a machine builds it, for minutes. */
export async function program(name: Program): Promise<string> {
  const { stdout } = await run(BUILD, [name]);
  return stdout.trim();
}
