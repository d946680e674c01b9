/** The bill of materials of the image's own part: https://docs.npmjs.com/cli/commands/npm-sbom in SPDX 2.3. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Type } from 'typebox';
import Schema from 'typebox/schema';
import packageJson from '../package.json' with { type: 'json' };
import lock from '../package-lock.json' with { type: 'json' };

const SHAPE = Type.Object({
  documentNamespace: Type.String(),
  creationInfo: Type.Object({ created: Type.String() }),
  packages: Type.Array(Type.Object({ name: Type.String(), versionInfo: Type.String() })),
});
export type Sbom = Type.Static<typeof SHAPE>;
const Spdx = Schema.Compile(SHAPE);

type Locked = Readonly<{ version: string; dev?: boolean; optional?: boolean; devOptional?: boolean }>;

/**
 * The packages that Chasqui runs on, whether bundles need all of their files or not. No optional one is in a bundle; Node
 * is the base image's, and in the bill of that.
 * @param builtAt seconds since 1970; the same sources at the same time give the same text
 */
export async function sbom(builtAt: number): Promise<Sbom> {
  const folder = await mkdtemp(join(tmpdir(), 'sbom-'));
  try {
    await writeProductionPart(folder);
    const words = ['sbom', '--sbom-format=spdx', '--sbom-type=application', '--package-lock-only'];
    const { stdout } = await promisify(execFile)('npm', words, { cwd: folder, maxBuffer: 2 ** 26 });
    const told: unknown = JSON.parse(stdout);
    if (!Spdx.Check(told)) throw new Error('npm sbom told something else than an SPDX document');
    const digest = createHash('sha256').update(JSON.stringify(told.packages)).digest('hex').slice(0, 32);
    return {
      ...told,
      documentNamespace: `https://chasqui.dev/sbom/${digest}`,
      creationInfo: { ...told.creationInfo, created: new Date(builtAt * 1000).toISOString() },
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * What package.json and its lock file are without the other dependencies. With `--omit=dev` npm 11 leaves out what some
 * dependency needs too, where it is also a development dependency; with `--omit=optional` likewise.
 */
async function writeProductionPart(folder: string): Promise<void> {
  const needed = Object.entries<Locked>(lock.packages).filter(([, of]) => !(of.dev || of.optional || of.devOptional));
  const root = production(lock.packages['']);
  const packages = { ...Object.fromEntries(needed), '': root };
  await writeFile(join(folder, 'package.json'), JSON.stringify(production(packageJson)));
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages }));
}

const production = (manifest: object): object =>
  Object.fromEntries(Object.entries(manifest).filter(([field]) => !/^(dev|optional)Dependencies$/.test(field)));
