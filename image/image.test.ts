import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { Metafile } from 'esbuild';
import packageJson from '../package.json' with { type: 'json' };
import lock from '../package-lock.json' with { type: 'json' };
import { bundle, loadedAtStart, outputOf } from './bundle.ts';
import { bundledPackages, licencesText, PERMISSIVE, packageFolder } from './licences.ts';
import { sbom } from './sbom.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..');

let folder: string;
let metafile: Metafile;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bundle-'));
  metafile = await bundle(folder);
});
after(() => rm(folder, { recursive: true, force: true }));

const packagesOf = (source: string): ReadonlySet<string> => {
  const folders = [...loadedAtStart(metafile, outputOf(metafile, source))].flatMap((file) => packageFolder(file) ?? []);
  return new Set(folders.map((path) => path.replace(/^.*node_modules\//, '')));
};

test('the bundles run where there is no package', async () => {
  const { stdout } = await run(process.execPath, [join(folder, 'chasqui.js'), '--version'], { cwd: folder });
  assert.equal(stdout, `${packageJson.version}\n`);
});

test('what starts a relay loads neither the Kubernetes client nor anything of the operator', () => {
  for (const source of ['cli/chasqui.ts', 'cli/verbs/relay.ts', 'relay/spool/writer.ts']) {
    const loaded = [...loadedAtStart(metafile, outputOf(metafile, source))];
    assert.ok(loaded.includes(source), `${source} is in its own bundle`);
    assert.deepEqual(
      loaded.filter((file) => file.startsWith('operator/') || file.includes('node_modules/@kubernetes/')),
      [],
      source,
    );
  }
  assert.ok(packagesOf('cli/operator.ts').has('@kubernetes/client-node'), 'it is seen where it is loaded');
});

test('the thread that writes the queue loads no package', () => {
  assert.deepEqual([...packagesOf('relay/spool/writer.ts')], []);
});

test('each package in the bundles comes with its licence, and none asks for more than that', async () => {
  const packages = bundledPackages(metafile, ROOT);
  assert.ok(packages.length > 30, `${packages.length} packages`);
  for (const { name, version, licence, text } of packages) {
    assert.ok(PERMISSIVE.includes(licence), `${name} ${version}: ${licence}`);
    assert.ok(licencesText(packages).includes(`${name} ${version} (${licence})\n`));
    assert.match(text, /copyright|permission|licen[cs]e/i, `${name} ${version} has no text`);
  }
});

test('the bill of materials has the production dependencies, all of them and nothing else', async () => {
  const told = (await sbom(0)).packages.map(({ name, versionInfo }) => `${name} ${versionInfo}`);
  assert.deepEqual(told.toSorted(), [`chasqui ${packageJson.version}`, ...needed()].toSorted());
  for (const { name, version } of bundledPackages(metafile, ROOT)) assert.ok(told.includes(`${name} ${version}`), name);
});

/** Name and version of each package that Node finds by going from one to those that it depends on. */
function needed(): readonly string[] {
  const packages: Readonly<Record<string, Locked>> = lock.packages;
  const found = new Map<string, Locked>();
  const visit = (from: string, name: string): void => {
    // https://nodejs.org/api/modules.html#loading-from-node_modules-folders
    const folders = from
      .split('/node_modules/')
      .map((_, index, parts) => parts.slice(0, index + 1).join('/node_modules/'));
    const places = [...folders.toReversed().map((folder) => `${folder}/node_modules/${name}`), `node_modules/${name}`];
    const place = places.find((path) => packages[path] !== undefined);
    const dependency = packages[place ?? ''];
    // A peer may be optional, and missing.
    if (place === undefined || dependency === undefined || found.has(place)) return;
    found.set(place, dependency);
    const peers = Object.keys(dependency.peerDependencies ?? {}).filter(
      (peer) => !dependency.peerDependenciesMeta?.[peer],
    );
    for (const next of [...Object.keys(dependency.dependencies ?? {}), ...peers]) visit(place, next);
  };
  for (const name of Object.keys(packageJson.dependencies)) visit('', name);
  return [...found].map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')} ${version}`);
}

interface Locked {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional: boolean }>>;
}

test('the bill of materials of the same packages at the same time is the same', async () => {
  const [one, other] = await Promise.all([sbom(1_700_000_000), sbom(1_700_000_000)]);
  assert.deepEqual(one, other);
  assert.equal(one.creationInfo.created, '2023-11-14T22:13:20.000Z');
});

test('the image starts Node as bin/chasqui does', async () => {
  const [script, dockerfile] = await Promise.all(
    ['bin/chasqui', 'Dockerfile'].map((name) => readFile(join(ROOT, name), 'utf8')),
  );
  const [, heap = ''] = /^heap='(.*)'$/m.exec(script ?? '') ?? [];
  const [, arenas = ''] = /MALLOC_ARENA_MAX:-(\d+)/.exec(script ?? '') ?? [];
  const [, entry = ''] = /^ENTRYPOINT (.*)$/m.exec(dockerfile ?? '') ?? [];
  assert.deepEqual(JSON.parse(entry), ['/usr/local/bin/node', ...heap.split(' '), '/opt/chasqui/chasqui.js']);
  assert.match(dockerfile ?? '', new RegExp(`^ENV MALLOC_ARENA_MAX=${arenas}$`, 'm'));
});
