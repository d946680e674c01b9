/** What the packages in the bundles ask for in return: that their licences go with them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';
import { Type } from 'typebox';
import Schema from 'typebox/schema';

/** All let anyone pass the image on, for no more than their text. A licence that asks for more is a decision to be made. */
export const PERMISSIVE: readonly string[] = [
  ...['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT', 'MIT-0', 'Unlicense'],
];

const LICENCE_FILE = /^((un)?licen[cs]e|copying|notice)/i;
const PackageJson = Schema.Compile(
  Type.Object({ name: Type.String(), version: Type.String(), license: Type.String() }),
);

export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX identifier. */
  readonly licence: string;
  /** Empty where the package brings none. */
  readonly text: string;
}

/** The packages of which a file is in some bundle, by name; each version by itself. */
export function bundledPackages(metafile: Metafile, root: string): readonly BundledPackage[] {
  const inputs = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs));
  const folders = new Set(inputs.flatMap((input) => packageFolder(input) ?? []));
  return [...folders].sort().map((folder) => read(join(root, folder)));
}

/** @returns the folder of the package that a file is of, undefined for a source of ours */
export function packageFolder(file: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
}

function read(folder: string): BundledPackage {
  const found: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  if (!PackageJson.Check(found)) throw new Error(`${folder}/package.json lacks a name, a version or a licence`);
  const { name, version, license } = found;
  const files = readdirSync(folder, { withFileTypes: true }).filter((of) => of.isFile() && LICENCE_FILE.test(of.name));
  const texts = files.map((file) => readFileSync(join(folder, file.name), 'utf8').trim());
  return { name, version, licence: license, text: texts.join('\n\n') };
}

export function licencesText(packages: readonly BundledPackage[]): string {
  const parts = packages.map(({ name, version, licence, text }) =>
    [`${name} ${version} (${licence})`, '='.repeat(72), text].join('\n'),
  );
  return `Chasqui contains parts of these packages.\n\n${parts.join('\n\n')}\n`;
}
