/** `bin/chasqui` as people meet it: links to it, other Nodes on the PATH, wrong words, and no installation. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = join(ROOT, 'bin/chasqui');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (program: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  new Promise((resolve) => {
    const child = execFile(program, words, { env: { PATH: '/usr/bin:/bin', ...env } }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });

function folder(t: TestContext): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'program-')));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('help names each verb and begins with an example', async () => {
  const { code, stdout } = await run(PROGRAM, ['--help']);
  assert.equal(code, 0);
  for (const verb of ['standalone', 'operator', 'uninstall', 'relay', 'sink', 'send', 'status', 'dns', 'queue']) {
    assert.match(stdout, new RegExp(`^ {2}${verb} `, 'm'));
    const help = await run(PROGRAM, [verb, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.stdout, new RegExp(`^Usage: chasqui ${verb}`));
  }
});

test('wrong words are refused with exit code 2, on stderr, with the way to help', async () => {
  for (const words of [
    [],
    ['sttatus'],
    ['send'],
    ['status', '--nope'],
    ['queue', 'show'],
    ['send', '--to', 'a@b.test', '--server', 'nowhere'],
    ['status', '--wait', 'long'],
  ]) {
    const { code, stdout, stderr } = await run(PROGRAM, words);
    assert.equal(code, 2, words.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, /--help|-h, --help/);
  }
});

test('an operator that finds no API server says so, with what to do', async (t) => {
  const missing = join(folder(t), 'kubeconfig');
  const { code, stderr } = await run(PROGRAM, ['operator', '--kubeconfig', missing, '--relay-image', 'chasqui:test']);
  assert.equal(code, 1);
  assert.match(stderr, /^chasqui: no API server to work on: .*kubeconfig.*see --kubeconfig/);
});

test('a folder that is no state folder is told, with what to do', async (t) => {
  for (const words of [['status'], ['dns', 'example.test'], ['queue', 'list'], ['send', '--to', 'a@b.test']]) {
    const { code, stderr } = await run(PROGRAM, words, { CHASQUI_STATE: folder(t) });
    assert.equal(code, 1, words.join(' '));
    assert.match(stderr, /^chasqui: .* is no state folder: start "chasqui standalone/);
  }
});

test('a reader that closes the pipe early is no failure', async () => {
  const child = spawn(PROGRAM, ['--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const exit = once(child, 'exit');
  assert.equal(await text(child.stderr), '');
  assert.deepEqual(await exit, [0, null]);
});

test('it runs through links, relative ones and links of links', async (t) => {
  const place = folder(t);
  mkdirSync(join(place, 'bin'));
  symlinkSync(PROGRAM, join(place, 'first'));
  symlinkSync('../first', join(place, 'bin/second'));
  const { code, stdout } = await run(join(place, 'bin/second'), ['--version']);
  assert.deepEqual([code, stdout.trim()], [0, JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version]);
});

test('it takes the pinned Node, whatever node is on the PATH', async (t) => {
  const place = folder(t);
  writeFileSync(join(place, 'node'), '#!/bin/sh\necho old; exit 1\n', { mode: 0o755 });
  const { code, stdout } = await run(PROGRAM, ['--version'], { PATH: `${place}:/usr/bin:/bin` });
  assert.equal(code, 0);
  assert.doesNotMatch(stdout, /old/);
});

test('it needs no node on the PATH', async (t) => {
  const place = folder(t);
  for (const tool of ['sh', 'dirname', 'readlink']) symlinkSync(join('/usr/bin', tool), join(place, tool));
  assert.equal((await run(PROGRAM, ['--version'], { PATH: place })).code, 0);
});

test('the process that was started is the program itself, so a signal reaches it', async (t) => {
  const child: ChildProcess = spawn(PROGRAM, ['status', '--wait', '60', '--state', folder(t)], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const executable = () => realpathSync(`/proc/${child.pid}/exe`);
  const pinned = realpathSync(process.execPath);
  while (executable() !== pinned) await new Promise((resolve) => setImmediate(resolve));
  child.kill('SIGTERM');
  assert.deepEqual(await exit, [null, 'SIGTERM']);
});

test('npm of any version installs: the lock file has each optional package, for other platforms too', () => {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  for (const [place, { optionalDependencies = {} }] of Object.entries<{ optionalDependencies?: object }>(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      assert.ok(packages[`node_modules/${name}`]?.version, `${name}, of ${place || 'the project'}`);
    }
  }
});

test('without an installation it says what to run', async (t) => {
  const place = folder(t);
  mkdirSync(join(place, 'bin'));
  copyFileSync(PROGRAM, join(place, 'bin/chasqui'));
  const { code, stderr } = await run(join(place, 'bin/chasqui'), ['--help']);
  assert.equal(code, 69);
  assert.match(stderr, new RegExp(`run 'npm ci' in ${place}`));
});
