/**
 * Ends the test node of `make cluster`, and whatever it left: all of it ran in namespaces of its own, so with their first
 * process the kernel ends everything, mounts and addresses included. Nothing else on the machine was changed.
 */
import { existsSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { removeCgroups } from './cgroups.ts';
import { livingNode, NAME, ROOT } from './layout.ts';

export async function down(): Promise<void> {
  const node = await livingNode();
  if (node) process.kill(node.pid, 'SIGKILL');
  while (await livingNode()) await pause(50);
  await removeCgroups();
  await rm(ROOT, { recursive: true, force: true, maxRetries: 10 });
  // The last one takes the folder of all clusters with it.
  await rmdir(dirname(ROOT)).catch(() => undefined);
}

if (import.meta.main) {
  const had = existsSync(ROOT);
  await down();
  console.log(had ? `The test cluster ${NAME} has ended.` : `There is no test cluster ${NAME}.`);
}
