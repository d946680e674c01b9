/** Images for test clusters, made of files of this machine: no registry is asked. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface ImageWish {
  /** Such as `local.test/probe:1`. */
  readonly name: string;
  /** Where in the image, and where on this machine. Links are followed. */
  readonly files: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
}

/** Writes a docker-archive of one layer. */
export async function writeImage(archive: string, { name, files, entrypoint }: ImageWish): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'image-'));
  try {
    const tree = join(folder, 'tree');
    await mkdir(join(tree, 'tmp'), { recursive: true, mode: 0o1777 });
    for (const [to, from] of Object.entries(files)) {
      await mkdir(dirname(join(tree, to)), { recursive: true });
      await copyFile(from, join(tree, to));
    }
    const layer = join(folder, 'layer.tar');
    await tar(layer, tree, ['.']);
    const digest = await sha256(layer);
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Entrypoint: entrypoint, User: '65532:65532', Env: ['PATH=/usr/bin:/bin'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
    });
    const configFile = `${createHash('sha256').update(config).digest('hex')}.json`;
    const content = join(folder, 'content');
    await mkdir(join(content, digest), { recursive: true });
    await rename(layer, join(content, digest, 'layer.tar'));
    await writeFile(join(content, configFile), config);
    const manifest = [{ Config: configFile, RepoTags: [name], Layers: [`${digest}/layer.tar`] }];
    await writeFile(join(content, 'manifest.json'), JSON.stringify(manifest));
    await tar(archive, content, ['manifest.json', configFile, digest]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A program with the libraries that it is linked with, as files of an image. */
export async function withLibraries(to: string, program: string): Promise<Readonly<Record<string, string>>> {
  const { stdout } = await run('ldd', [program]);
  const libraries = [...stdout.matchAll(/(\/[^\s)]+) \(0x/g)].flatMap(([, path]) => (path ? [path] : []));
  return { [to]: program, ...Object.fromEntries(libraries.map((path) => [path, path])) };
}

const tar = (archive: string, folder: string, names: readonly string[]) =>
  run('tar', ['--create', `--file=${archive}`, `--directory=${folder}`, '--owner=0', '--group=0', '--', ...names]);

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
