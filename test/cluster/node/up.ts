/** Starts a test cluster of one node, unless it runs: a control plane, containerd, kubelet, kube-proxy, cluster DNS. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePorts } from '../../harness/standalone.ts';
import { Kubectl } from '../kubectl.ts';
import { type Program, program } from '../programs.ts';
import { makeCgroups } from './cgroups.ts';
import { writeCredentials } from './credentials.ts';
import { down } from './down.ts';
import { importOwnImages } from './images.ts';
import { inside, runInside, startDaemon, until } from './inside.ts';
import { API_PORT, fillIn, KUBECONFIG, livingNode, NAME, ROOT, recordNode } from './layout.ts';
import { problemOf } from './problem.ts';
import { API_SERVER, CONTROLLERS, NODE } from './programs.ts';
import { makeVolumes } from './volumes.ts';

const BUILD = join(import.meta.dirname, '../binaries/build');
const CLUSTER_DNS = '10.96.0.10';

async function up(): Promise<Kubectl> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    problemOf('a node needs Linux and root; or set KUBECONFIG to a cluster that you have');
  }
  await build();
  const running = new Kubectl(await program('kubectl'), KUBECONFIG);
  if ((await livingNode()) && (await running.attempt(['get', '--raw=/readyz'])).code === 0) return running;
  await down();
  await mkdir(ROOT, { recursive: true, mode: 0o711 });
  await writeFile(join(ROOT, 'resolv.conf'), '');
  const pid = await hold();
  const [port = 0] = await freePorts(1);
  await recordNode(pid, port);
  await makeCgroups();
  await writeCredentials(port);
  await startApiServer(pid, port);
  await until('the API server is not ready', 'kube-apiserver', async () => {
    return (await running.attempt(['get', '--raw=/readyz'])).code === 0;
  });
  await startAll(pid, CONTROLLERS);
  await startNode(pid);
  await running.apply(...(await makeVolumes()));
  const dns = await readFile(join(import.meta.dirname, 'templates/coredns.yaml'), 'utf8');
  const applied = await running.attempt(['apply', '--server-side', '--filename=-'], dns);
  if (applied.code !== 0) throw new Error(applied.stderr);
  await running.run('wait', '--for=create', 'node/node1', '--timeout=180s');
  await running.run('wait', '--for=condition=Ready', 'node/node1', '--timeout=180s');
  await running.run('rollout', 'status', 'deployment/coredns', '--namespace=kube-system', '--timeout=180s');
  // Ready comes before reachable: the rules of the Service follow a moment later.
  await until('cluster DNS does not answer', 'kube-proxy', () => resolves(pid, 'kubernetes.default.svc.cluster.local'));
  return running;
}

/** Builds what is not yet built, and says so. */
async function build(): Promise<void> {
  const [code] = await once(spawn(BUILD, [], { stdio: ['ignore', 'ignore', 'inherit'] }), 'close');
  if (code !== 0) process.exit(code);
}

/** Starts the process whose namespaces are the node; returns its number. */
async function hold(): Promise<number> {
  const namespaces = ['--mount', '--net', '--pid', '--fork', '--mount-proc', '--propagation=private'];
  const words = ['unshare', ...namespaces, '--', 'bash', join(import.meta.dirname, 'hold.sh'), ROOT];
  const outer = startDaemon('hold', words);
  await until('there are no namespaces', 'hold', async () => {
    if (outer.exitCode !== null) throw new Error(`there are no namespaces: see ${join(ROOT, 'hold.log')}`);
    return existsSync(join(ROOT, 'held'));
  });
  // unshare waits outside for the first process of the namespace of processes, its only child.
  return Number(await readFile(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8'));
}

async function startApiServer(pid: number, port: number): Promise<void> {
  await startAll(pid, API_SERVER);
  // The node's network has no way out, but its files are the machine's: a socket leads to the API server.
  const socket = join(ROOT, 'api.sock');
  startDaemon('api', inside(pid, ['socat', `UNIX-LISTEN:${socket},fork,mode=600`, `TCP:127.0.0.1:${API_PORT}`]));
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,backlog=128`;
  startDaemon('api', [
    'nsenter',
    `--target=${pid}`,
    '--pid',
    '--mount',
    '--',
    'socat',
    listen,
    `UNIX-CONNECT:${socket}`,
  ]);
}

async function startNode(pid: number): Promise<void> {
  await fillIn('pods.conflist', join(ROOT, 'cni/pods.conflist'));
  await fillIn('kubelet.yaml', join(ROOT, 'kubelet.yaml'));
  await fillIn('kube-proxy.yaml', join(ROOT, 'kube-proxy.yaml'));
  const config = await fillIn('containerd.toml', join(ROOT, 'containerd/config.toml'));
  startDaemon('containerd', inside(pid, ['containerd', `--config=${config}`]));
  const ctr = ['ctr', `--address=${join(ROOT, 'containerd/containerd.sock')}`, 'version'];
  await until('containerd does not answer', 'containerd', () => succeeds(runInside(pid, ctr)));
  await importOwnImages();
  await startAll(pid, NODE);
}

async function startAll(pid: number, programs: Readonly<Partial<Record<Program, readonly string[]>>>): Promise<void> {
  for (const [name, words] of Object.entries(programs)) {
    startDaemon(name, inside(pid, [await program(name as Program), ...words]));
  }
}

function resolves(pid: number, name: string): Promise<boolean> {
  const script = `
    const resolver = new (require('node:dns').promises.Resolver)({ timeout: 500, tries: 1 });
    resolver.setServers(['${CLUSTER_DNS}']);
    resolver.resolve4('${name}').then(() => process.exit(0), () => process.exit(1));`;
  return succeeds(runInside(pid, [process.execPath, '-e', script]));
}

const succeeds = (promise: Promise<unknown>): Promise<boolean> =>
  promise.then(
    () => true,
    () => false,
  );

try {
  await up();
} catch (error) {
  console.error(error);
  problemOf(`it did not start; its logs are in ${ROOT}, until make cluster-down`);
}
console.log(`The test cluster ${NAME} is ready.

  export KUBECONFIG=${KUBECONFIG}

Then: kubectl get nodes (test/cluster/binaries/build kubectl says where kubectl is), make e2e, and make cluster-down.`);
