/** The cgroups that the pods of a test node are below: in each hierarchy of cgroup v1, or in the one of v2. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { CGROUP } from './layout.ts';

const MOUNT = '/sys/fs/cgroup';
const isV2 = existsSync(join(MOUNT, 'cgroup.controllers'));

async function hierarchies(): Promise<readonly string[]> {
  if (isV2) return [MOUNT];
  const entries = await readdir(MOUNT, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(MOUNT, name));
}

export async function makeCgroups(): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    const cgroup = join(hierarchy, CGROUP);
    await mkdir(cgroup, { recursive: true });
    // In v1 a new cpuset may run nowhere until it is told (cgroup-v1/cpusets).
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (!isV2 && existsSync(join(cgroup, file)))
        await writeFile(join(cgroup, file), await readFile(join(hierarchy, file)));
    }
  }
}

/** When nothing runs in them any more. */
export async function removeCgroups(): Promise<void> {
  for (const hierarchy of await hierarchies()) await removeTree(join(hierarchy, CGROUP));
}

async function removeTree(cgroup: string): Promise<void> {
  if (!existsSync(cgroup)) return;
  const entries = await readdir(cgroup, { withFileTypes: true });
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(cgroup, entry.name));
  for (let tries = 50; ; tries--) {
    try {
      return await rmdir(cgroup);
    } catch (error) {
      // What was killed is still being buried.
      if (tries === 0) throw error;
      await pause(100);
    }
  }
}
