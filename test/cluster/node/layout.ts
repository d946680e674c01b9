/**
 * Where a test node is: a folder, which is all that it leaves on the machine, and the cgroups of its pods. CLUSTER names
 * another one beside the first.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { problemOf } from './problem.ts';

const run = promisify(execFile);

export const NAME = process.env.CLUSTER ?? 'test';
if (!/^[a-z0-9-]{1,20}$/.test(NAME)) problemOf(`CLUSTER is ${NAME}: take lower-case letters, digits and hyphens`);
/** Short, since paths of sockets are in it. */
export const ROOT = `/var/lib/chasqui-cluster/${NAME}`;
export const CGROUP = `/chasqui-${NAME}`;
/** How programs on the machine ask the API server. */
export const KUBECONFIG = join(ROOT, 'kubeconfig');
export const CONTAINERD = join(ROOT, 'containerd/containerd.sock');

export const NODE_ADDRESS = '10.244.0.1';
export const SERVICES = '10.96.0.0/16';
export const PODS = '10.244.0.0/16';
/** In the node's network; on the machine it is `node.port`. */
export const API_PORT = 6443;

interface Node {
  /** First process of the node, as the machine numbers it. */
  readonly pid: number;
  /** When it was started, in ticks since the boot: a number may come again, both together do not. */
  readonly started: string;
  /** Port of the API server on the machine's loopback. */
  readonly port: number;
}

const RECORD = join(ROOT, 'node.json');

export async function recordNode(pid: number, port: number): Promise<void> {
  const node: Node = { pid, started: startOf(pid) ?? '', port };
  await writeFile(RECORD, JSON.stringify(node));
}

/** The node that was started here, if its first process lives. */
export async function livingNode(): Promise<Node | undefined> {
  if (!existsSync(RECORD)) return undefined;
  const node: Node = JSON.parse(await readFile(RECORD, 'utf8'));
  return startOf(node.pid) === node.started ? node : undefined;
}

/** Field 22 of /proc/PID/stat (proc(5)), counted behind the name, which may hold blanks. */
function startOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Writes a template's text with the places of this node filled in. */
export async function fillIn(template: string, path: string): Promise<string> {
  const runc = (await run('sh', ['-c', 'command -v runc'])).stdout.trim();
  const cni = ['/usr/lib/cni', '/opt/cni/bin'].find((folder) => existsSync(join(folder, 'bridge'))) ?? '';
  const text = (await readFile(join(import.meta.dirname, 'templates', template), 'utf8'))
    .replaceAll('@ROOT@', ROOT)
    .replaceAll('@CGROUP@', CGROUP)
    .replaceAll('@RUNC@', runc)
    .replaceAll('@CNI@', cni);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, text);
  return path;
}
