/** When the programs of a cluster are built, and which one is used; the Go that builds them is played. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BUILD = join(import.meta.dirname, 'build');

/** Tells its version, and builds a program that is one line: notes that it began, and waits to be let go on. */
const GO = `#!/bin/sh
if [ "$1" = env ]; then cat "$STAGE/version"; exit; fi
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho half\\n' >"$2"
chmod 755 "$2"
echo begun >>"$STAGE/builds"
while [ -e "$STAGE/hold" ]; do sleep 0.05; done
printf '#!/bin/sh\\necho whole\\n' >"$2"
`;

class Stage implements AsyncDisposable {
  readonly root: string;
  readonly env: NodeJS.ProcessEnv;

  private constructor(root: string) {
    this.root = root;
    const path = `${join(root, 'bin')}:${process.env.PATH}`;
    this.env = { ...process.env, PATH: path, STAGE: root, XDG_CACHE_HOME: join(root, 'cache'), KUBEBUILDER_ASSETS: '' };
  }

  static async set(): Promise<Stage> {
    const stage = new Stage(await mkdtemp(join(tmpdir(), 'build-')));
    await mkdir(join(stage.root, 'bin'));
    await writeFile(join(stage.root, 'bin/go'), GO);
    await chmod(join(stage.root, 'bin/go'), 0o755);
    await writeFile(join(stage.root, 'version'), 'go1.26.8\n');
    return stage;
  }

  /** Path of the program. */
  async build(name: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
    return (await run(BUILD, [name], { env: { ...this.env, ...env } })).stdout.trim();
  }

  async builds(): Promise<number> {
    return (await readFile(join(this.root, 'builds'), 'utf8').catch(() => '')).split('\n').length - 1;
  }

  async until(builds: number): Promise<void> {
    while ((await this.builds()) < builds) await pause(20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true });
  }
}

const says = async (program: string): Promise<string> => (await run(program)).stdout.trim();

describe('a program of the cluster', () => {
  test('is built once, outside the checkout', async () => {
    await using stage = await Stage.set();
    const program = await stage.build('etcd');
    assert.match(program, /\/cache\/chasqui\/cluster\/etcd-[0-9a-f]{16}\/etcd$/);
    assert.equal(await says(program), 'whole');
    assert.equal(await stage.build('etcd'), program);
    assert.equal(await stage.builds(), 1);
  });

  test('is built anew for another version of Go, and the old one stays', async () => {
    await using stage = await Stage.set();
    const old = await stage.build('etcd');
    await writeFile(join(stage.root, 'version'), 'go1.27.0\n');
    assert.notEqual(await stage.build('etcd'), old);
    assert.equal(await says(old), 'whole');
  });

  const needsLock = {
    skip: process.env.CI || existsSync('/usr/bin/flock') ? false : 'flock is missing: each would build its own',
  };
  test('is built by one of two that want it at once', needsLock, async () => {
    await using stage = await Stage.set();
    await writeFile(join(stage.root, 'hold'), '');
    const [one, other] = [stage.build('etcd'), stage.build('etcd')];
    await stage.until(1);
    await rm(join(stage.root, 'hold'));
    assert.equal(await one, await other);
    assert.equal(await stage.builds(), 1);
  });

  test('is not used half built', async () => {
    await using stage = await Stage.set();
    await writeFile(join(stage.root, 'hold'), '');
    const killed = spawn(BUILD, ['etcd'], { env: stage.env, detached: true, stdio: 'ignore' });
    await stage.until(1);
    // All of it at once, as a machine that goes down would.
    process.kill(-(killed.pid ?? assert.fail('it did not start')), 'SIGKILL');
    await once(killed, 'close');
    await rm(join(stage.root, 'hold'));
    const program = await stage.build('etcd');
    assert.equal(await says(program), 'whole');
    assert.equal(await stage.builds(), 2);
    assert.ok((await readdir(dirname(program))).includes('etcd'));
  });

  test('is that of KUBEBUILDER_ASSETS where it is there, and built where it is not', async () => {
    await using stage = await Stage.set();
    const given = join(stage.root, 'assets/etcd');
    await mkdir(dirname(given));
    await writeFile(given, '#!/bin/sh\n');
    await chmod(given, 0o755);
    const env = { KUBEBUILDER_ASSETS: dirname(given) };
    assert.equal(await stage.build('etcd', env), given);
    assert.equal(await stage.builds(), 0);
    assert.equal(await says(await stage.build('kubectl', env)), 'whole');
  });

  test('that cannot be built says what is missing', async () => {
    await using stage = await Stage.set();
    const few = join(stage.root, 'few');
    await mkdir(few);
    await symlink((await run('sh', ['-c', 'command -v dirname'])).stdout.trim(), join(few, 'dirname'));
    await assert.rejects(stage.build('etcd', { PATH: few }), /install Go >= 1\.26.*or set KUBEBUILDER_ASSETS/);
    await assert.rejects(stage.build('etcdd'), /no program is called etcdd/);
  });
});
