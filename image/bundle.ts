/**
 * Bundles the program for the image: JavaScript that Node starts without a folder of packages. What a verb does not load
 * in the sources it does not load here either, since each `import()` is a file of its own: a relay's pod never reads the
 * Kubernetes client.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build, type Metafile, type Plugin } from 'esbuild';
import packageJson from '../package.json' with { type: 'json' };

const SOURCES = join(import.meta.dirname, '..');
/** What starts a process or a thread, by the name of its file in the image. */
const ENTRIES = { chasqui: 'cli/chasqui.ts', writer: 'relay/spool/writer.ts' } as const;

/** `new URL('./NAME.ts', import.meta.url)`: how the sources name the program of a thread. */
const THREAD = /new URL\('\.\/([^']*)\.ts', import\.meta\.url\)/g;

/** All bundles stand in one folder, and so do the programs of threads, whatever folders their sources are in. */
const threads: Plugin = {
  name: 'threads',
  setup(build) {
    build.onLoad({ filter: /[/\\](cli|crds|operator|relay)[/\\].*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const contents = source.replace(THREAD, (_, name: string) => {
        if (!Object.hasOwn(ENTRIES, name)) throw new Error(`${path} starts ${name}.ts, which has no bundle`);
        return `new URL('./${name}.js', import.meta.url)`;
      });
      return { contents, loader: 'ts' };
    });
  },
};

/** What the program says of itself when it is asked for its version. */
const saying = (version: string): Plugin => ({
  name: 'version',
  setup(build) {
    build.onLoad({ filter: /[/\\]package\.json$/ }, ({ path }) =>
      path === join(SOURCES, 'package.json')
        ? { contents: JSON.stringify({ ...packageJson, version }), loader: 'json' }
        : undefined,
    );
  },
});

/** @returns what is in each file, https://esbuild.github.io/api/#metafile; paths are relative to the sources and `folder` */
export async function bundle(folder: string, version: string = packageJson.version): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: SOURCES,
    entryPoints: { ...ENTRIES },
    outdir: folder,
    // Stays the same as long as what is in the file does.
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    // An optional part of cli-table3, which asks for it where it paints by itself. It never does here.
    external: ['@colors/colors'],
    // Names in stack traces, and of errors, are those of the sources.
    keepNames: true,
    // CommonJS packages ask for modules of Node at run time.
    banner: { js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);` },
    // Those of packages are in a file of their own, whole.
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    plugins: [threads, saying(version)],
  });
  return metafile;
}

/** Sources, relative to the project, that a bundle loads when it starts, through all that it imports; not what `import()` may load. */
export function loadedAtStart(metafile: Metafile, output: string): ReadonlySet<string> {
  const inputs = new Set<string>();
  const seen = new Set<string>();
  const visit = (name: string): void => {
    const found = metafile.outputs[name];
    if (found === undefined || seen.has(name)) return;
    seen.add(name);
    for (const input of Object.keys(found.inputs)) inputs.add(input);
    for (const { path, kind } of found.imports) if (kind === 'import-statement') visit(path);
  };
  visit(output);
  return inputs;
}

/** The file that a source became: of an entry point or of a verb. */
export function outputOf(metafile: Metafile, source: string): string {
  const [output] = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === source) ?? [];
  if (output === undefined) throw new Error(`${source} has no bundle of its own (${basename(source)})`);
  return output;
}
