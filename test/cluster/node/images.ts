/** Images in a test node: those that it needs itself, and the import of any other. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ImageWish, withLibraries, writeImage } from '../image.ts';
import { program } from '../programs.ts';
import { runInside } from './inside.ts';
import { CONTAINERD, livingNode } from './layout.ts';

const run = promisify(execFile);

/** Node of this machine, to be told by `node -e` what to do: client and server of tests. */
export const PROBE_IMAGE = 'local.test/node:1';

/**
 * Brings the image of a docker-archive to the cluster. In one that KUBECONFIG names, the command IMPORT_IMAGE does it,
 * such as `kind load image-archive`, with the path behind it.
 */
export async function importImage(archive: string): Promise<void> {
  if (!existsSync(archive)) throw new Error(`there is no image ${archive}`);
  const command = process.env.IMPORT_IMAGE;
  if (command) {
    await run('sh', ['-c', `${command} "$0"`, archive]);
    return;
  }
  const node = await livingNode();
  if (!node) throw new Error('no test cluster runs here: make cluster, or say how images are imported in IMPORT_IMAGE');
  await runInside(node.pid, ['ctr', `--address=${CONTAINERD}`, '--namespace=k8s.io', 'images', 'import', archive]);
}

/** Imports what every test cluster has. */
export async function importOwnImages(): Promise<void> {
  for (const name of ['pause', 'coredns'] as const) {
    const wish = { files: { [`/${name}`]: await program(name) }, entrypoint: [`/${name}`] };
    await importMade({ name: `local.test/${name}:1`, ...wish });
  }
  await importProbe();
}

export const importProbe = async (): Promise<void> =>
  importMade({
    ...{ name: PROBE_IMAGE, entrypoint: ['/usr/bin/node'] },
    files: await withLibraries('/usr/bin/node', process.execPath),
  });

async function importMade(wish: ImageWish): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'archive-'));
  try {
    const archive = join(folder, 'image.tar');
    await writeImage(archive, wish);
    await importImage(archive);
  } finally {
    await rm(folder, { recursive: true });
  }
}
