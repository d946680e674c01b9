/**
 * Builds the image without a daemon and without a registry, as `make image` does, into an archive that `docker load` and
 * `ctr -n k8s.io images import` take. Needs buildah, and the rights to use it: root, or a user with subordinate ids.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import packageJson from '../package.json' with { type: 'json' };
import { assemble } from './assemble.ts';
import { baseRoot } from './base.ts';

const run = promisify(execFile);
const SOURCES = join(import.meta.dirname, '..');
const REPOSITORY = 'docker.io/library/chasqui';

export interface Built {
  /** Archive in the format of `docker save`. */
  readonly archive: string;
  /** With version and commit as its tag, as containerd and Kubernetes know it. */
  readonly name: string;
  /** Its other name, by the version alone: what the chart takes by default. */
  readonly released: string;
}

/**
 * @param folder where the archive is written to; one of the same name is replaced
 * @param version as which these sources are built, for tests that need two
 */
export async function buildImage(folder: string, version: string = packageJson.version): Promise<Built> {
  const base = process.env.BASE;
  const { revision, builtAt, changed } = await sources();
  const tag = `${version}-${revision.slice(0, 12)}${changed ? '-changed' : ''}`;
  const [name, released] = [`${REPOSITORY}:${tag}`, `${REPOSITORY}:${version}`];
  const work = await mkdtemp(join(tmpdir(), 'chasqui-image-'));
  // Nothing is shared with other images of this machine, and nothing of them is touched.
  const buildah = async (verb: string, ...words: readonly string[]): Promise<void> => {
    const storage = ['--storage-driver', 'vfs', '--root', join(work, 'storage'), '--runroot', join(work, 'run')];
    await run('buildah', [...storage, verb, ...words], { env: { ...process.env, TMPDIR: work }, maxBuffer: 2 ** 26 });
  };
  try {
    const [parts, root] = [join(work, 'parts'), join(work, 'base')];
    await assemble(join(parts, 'image'), builtAt, version);
    const from = base ?? 'localhost/chasqui-base';
    if (base === undefined) {
      await baseRoot(root);
      await buildah('build', '--timestamp', '0', '--tag', from, '--file', join(import.meta.dirname, 'Base'), root);
    }
    await buildah(
      ...(['build', '--timestamp', String(builtAt), '--build-context', `build=${parts}`, '--tag', released] as const),
      ...['--build-arg', `BASE=${from}`, '--build-arg', `VERSION=${version}`],
      ...['--build-arg', `REVISION=${revision}`, '--file', join(SOURCES, 'Dockerfile'), SOURCES],
    );
    await mkdir(folder, { recursive: true });
    const archive = join(folder, `chasqui-${tag}.tar`);
    await rm(archive, { force: true });
    // The archive has the name that is asked for, and the one that the image had.
    await buildah('push', '--quiet', released, `docker-archive:${archive}:${name}`);
    return { archive, name, released };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What is built: the commit, its time in seconds since 1970, and whether files differ from it. */
async function sources(): Promise<{ revision: string; builtAt: number; changed: boolean }> {
  const git = async (...words: readonly string[]) => (await run('git', ['-C', SOURCES, ...words])).stdout.trim();
  const revision = await git('rev-parse', 'HEAD');
  const builtAt = Number(await git('log', '-1', '--format=%ct'));
  return { revision, builtAt, changed: (await git('status', '--porcelain')) !== '' };
}

if (import.meta.main) {
  const { archive, name, released } = await buildImage(join(SOURCES, '.cache/image'));
  console.log(`${name}\n${released}\n${archive}`);
}
