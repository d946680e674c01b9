/**
 * A container of an image in the format of `docker save`, as the kubelet runs it in a namespace with the restricted Pod
 * Security profile: read-only root, no capability, no new privileges, and the user that the image names. It shares the
 * network of this machine, so that tests reach it at 127.0.0.1. Needs root, for runc.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 60_000;

const missing = ['buildah', 'runc'].filter((name) => spawnSync(name, ['--version']).error);
/** Options of a test that builds an image and runs it. */
export const needsContainers = {
  skip:
    !process.env.CI && (missing.length > 0 || process.getuid?.() !== 0)
      ? `needs root, buildah and runc; missing: ${missing.join(', ') || 'root'}`
      : false,
};

/** What an image says of the process to be started (OCI image specification, config). */
interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly WorkingDir: string;
}

/** An image unpacked. */
export class Image implements AsyncDisposable {
  readonly folder: string;
  readonly config: ImageConfig;

  private constructor(folder: string, config: ImageConfig) {
    this.folder = folder;
    this.config = config;
  }

  static async unpack(archive: string): Promise<Image> {
    const folder = await mkdtemp(join(tmpdir(), 'image-'));
    const [parts, root] = [join(folder, 'parts'), join(folder, 'rootfs')];
    await mkdir(parts);
    await mkdir(root);
    await run('tar', ['-xf', archive, '-C', parts]);
    const [manifest] = JSON.parse(await readFile(join(parts, 'manifest.json'), 'utf8'));
    for (const layer of manifest.Layers) await run('tar', ['-xpf', join(parts, layer), '-C', root]);
    const { config } = JSON.parse(await readFile(join(parts, manifest.Config), 'utf8'));
    await rm(parts, { recursive: true });
    return new Image(folder, config);
  }

  get root(): string {
    return join(this.folder, 'rootfs');
  }

  /** Runs a container to its end. */
  async run(args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
    await using container = await Container.start(this, args);
    const code = await container.ended();
    return { code, output: container.output };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Paths in the container, to folders of this machine; all but `/etc` may be written to. */
export type Mounts = Readonly<Record<string, string>>;

export class Container implements AsyncDisposable {
  /** What the process has written so far to stdout and stderr. */
  output = '';
  readonly #id = `chasqui-test-${randomBytes(6).toString('hex')}`;
  readonly #bundle: string;
  readonly #process: ChildProcess;
  readonly #over: Promise<number | null>;
  readonly #wrote = new EventEmitter();

  private constructor(bundle: string) {
    this.#bundle = bundle;
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    const words = ['--root', join(bundle, 'state'), 'run', '--bundle', bundle, this.#id];
    const child = spawn('runc', words, { stdio: [...stdio] });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
        this.#wrote.emit('text');
      });
    }
    this.#process = child;
    this.#over = once(child, 'close').then(([code]) => {
      this.#wrote.emit('text');
      return code;
    });
  }

  static async start(image: Image, args: readonly string[], mounts: Mounts = {}): Promise<Container> {
    const bundle = await mkdtemp(join(tmpdir(), 'container-'));
    await writeFile(join(bundle, 'config.json'), JSON.stringify(runtimeSpec(image, args, mounts)));
    return new Container(bundle);
  }

  /** Resolves once the process has written something. */
  async wrote(text: string): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_MS);
    while (!this.output.includes(text)) {
      assert.ok(this.#process.exitCode === null, `ended before it wrote ${text}:\n${this.output}`);
      await once(this.#wrote, 'text', { signal }).catch(() => assert.fail(`never wrote ${text}:\n${this.output}`));
    }
  }

  /** Runs another process in the container, and resolves with what it wrote. */
  async exec(args: readonly string[]): Promise<string> {
    const { stdout } = await run('runc', ['--root', join(this.#bundle, 'state'), 'exec', this.#id, ...args]);
    return stdout;
  }

  /** As the kubelet stops it; runc hands the signal on. */
  terminate(): void {
    this.#process.kill('SIGTERM');
  }

  /** Resolves with the exit code once the container has ended. */
  ended(): Promise<number | null> {
    return this.#over;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) {
      await run('runc', ['--root', join(this.#bundle, 'state'), 'delete', '--force', this.#id]);
      await this.#over;
    }
    await rm(this.#bundle, { recursive: true, force: true });
  }
}

/** https://github.com/opencontainers/runtime-spec/blob/main/config.md */
function runtimeSpec({ root, config }: Image, args: readonly string[], mounts: Mounts): object {
  const [uid, gid] = config.User.split(':').map(Number);
  const none = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] };
  return {
    ociVersion: '1.0.2',
    root: { path: root, readonly: true },
    process: {
      user: { uid, gid },
      args: [...config.Entrypoint, ...args],
      env: config.Env,
      cwd: config.WorkingDir,
      capabilities: none,
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ...Object.entries(mounts).map(([destination, source]) => ({
        ...{ destination, source, type: 'bind' },
        options: ['bind', destination.startsWith('/etc/') ? 'ro' : 'rw'],
      })),
    ],
    linux: { namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })) },
  };
}
