/** Writes what the image adds to its base: `node image/assemble.ts FOLDER`. */
import { chmod, cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import { bundle } from './bundle.ts';
import { bundledPackages, licencesText } from './licences.ts';
import { sbom } from './sbom.ts';

const SOURCES = join(import.meta.dirname, '..');
const PROGRAM = 'opt/chasqui';

/** @param builtAt seconds since 1970, https://reproducible-builds.org/specs/source-date-epoch/ */
export async function assemble(root: string, builtAt: number, version: string = packageJson.version): Promise<void> {
  const program = join(root, PROGRAM);
  await mkdir(program, { recursive: true });
  const metafile = await bundle(program, version);
  const { name, license } = packageJson;
  await writeFile(join(program, 'package.json'), `${JSON.stringify({ name, version, license, type: 'module' })}\n`);
  await cp(join(SOURCES, 'LICENSE'), join(program, 'LICENSE'));
  await writeFile(join(program, 'LICENSES-OF-PACKAGES'), licencesText(bundledPackages(metafile, SOURCES)));
  await writeFile(join(program, 'sbom.spdx.json'), `${JSON.stringify(await sbom(builtAt), null, 2)}\n`);
  await command(root, join(program, 'chasqui.js'));
}

/** `kubectl exec POD -- chasqui queue list`, in an image without a shell. */
async function command(root: string, file: string): Promise<void> {
  await writeFile(file, `#!/usr/local/bin/node\n${await readFile(file, 'utf8')}`);
  await chmod(file, 0o755);
  const link = join(root, 'usr/local/bin/chasqui');
  await mkdir(dirname(link), { recursive: true });
  await symlink(`/${PROGRAM}/chasqui.js`, link);
}

if (import.meta.main) {
  const [, , folder] = process.argv;
  if (folder === undefined) throw new Error('usage: node image/assemble.ts FOLDER');
  await assemble(folder, Number(process.env.SOURCE_DATE_EPOCH ?? 0));
}
