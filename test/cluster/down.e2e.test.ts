/** A test cluster on this machine: what it leaves behind is nothing, and what is beside it goes on. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Kubectl } from './kubectl.ts';
import { program } from './programs.ts';

const run = promisify(execFile);
const env = { ...process.env, CLUSTER: 'down-test' };
const ROOT = '/var/lib/chasqui-cluster/down-test';
const node = (file: string) => run(process.execPath, [join(import.meta.dirname, 'node', file)], { env });

const SYSCTLS = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'net/ipv4/ip_forward',
];

/** What a cluster could change on the machine. */
async function machine(): Promise<object> {
  // In cgroup v1 each of these is a hierarchy; v2 has one, in the folder itself.
  const cgroups = ['.', ...(await readdir('/sys/fs/cgroup'))];
  return {
    sysctls: await Promise.all(SYSCTLS.map((name) => readFile(`/proc/sys/${name}`, 'utf8'))),
    mounts: (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .filter((line) => /chasqui-cluster|netns/.test(line)),
    links: (await run('ip', ['-brief', 'link'])).stdout.split('\n').filter((line) => /^(cni|veth)/.test(line)),
    rules: (await run('iptables', ['--list-rules'])).stdout.split('\n').filter((line) => line.includes('KUBE')),
    cgroups: cgroups.filter((name) => existsSync(`/sys/fs/cgroup/${name}/chasqui-down-test`)),
  };
}

/** Processes of the machine that have the cluster's folder in their words. */
async function processes(): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const words = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return words.filter((text) => text.includes(ROOT));
}

test('ends with its first process, and leaves the machine as it was', {
  skip: !process.env.CI && (process.platform !== 'linux' || process.getuid?.() !== 0) ? 'needs Linux and root' : false,
}, async () => {
  const before = await machine();
  try {
    assert.match((await node('up.ts')).stdout, /The test cluster down-test is ready\.\n\n {2}export KUBECONFIG=/);
    const kubectl = new Kubectl(await program('kubectl'), join(ROOT, 'kubeconfig'));
    assert.match(await kubectl.run('get', 'pods', '--all-namespaces'), /coredns.* 1\/1 +Running/);
    assert.ok((await processes()).length > 5);
    const { cgroups, ...rest } = before as { cgroups: string[] };
    const { cgroups: used, ...others } = (await machine()) as { cgroups: string[] };
    assert.deepEqual(others, rest);
    assert.notDeepEqual(used, cgroups);

    const { uid } = ((await kubectl.json('get', 'namespace', 'kube-system')) as { metadata: { uid: string } }).metadata;
    await node('up.ts');
    const again = ((await kubectl.json('get', 'namespace', 'kube-system')) as { metadata: { uid: string } }).metadata;
    assert.equal(again.uid, uid, 'a second start is that of the same cluster');
  } finally {
    await node('down.ts');
  }
  assert.deepEqual(await machine(), before);
  assert.deepEqual(await processes(), []);
  assert.ok(!existsSync(ROOT));
});
