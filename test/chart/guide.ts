/** A guide of docs/, whose commands a test runs as a person copies them: block by block, in a shell. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { program } from '../cluster/programs.ts';

const ROOT = join(import.meta.dirname, '../..');

export class Guide implements AsyncDisposable {
  readonly #home: string;
  readonly #kubeconfig: string;
  #blocks: readonly string[];
  readonly #ran = new Set<string>();

  private constructor(home: string, kubeconfig: string, blocks: readonly string[]) {
    this.#home = home;
    this.#kubeconfig = kubeconfig;
    this.#blocks = blocks;
  }

  /** @param file in docs/ */
  static async open(file: string, kubeconfig: string): Promise<Guide> {
    const home = await mkdtemp(join(tmpdir(), 'guide-'));
    await mkdir(join(home, 'bin'));
    for (const name of ['helm', 'kubectl'] as const) await symlink(await program(name), join(home, 'bin', name));
    const text = await readFile(join(ROOT, 'docs', file), 'utf8');
    const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block);
    return new Guide(home, kubeconfig, blocks);
  }

  /**
   * Runs all commands of the block that has this one.
   *
   * @param folder where a person would have the files of a release that the commands name
   */
  async run(command: string, folder = ROOT): Promise<string> {
    const block = this.#blocks.find((text) => text.includes(command));
    assert.ok(block, `no block has ${command}`);
    this.#ran.add(block);
    const path = `${join(this.#home, 'bin')}:${process.env.PATH}`;
    // A person has no make around the shell, which would have this one talk of folders.
    const { MAKELEVEL: _level, MAKEFLAGS: _flags, MFLAGS: _more, ...own } = process.env;
    const env = { ...own, PATH: path, HOME: this.#home, KUBECONFIG: this.#kubeconfig };
    const { stdout } = await promisify(execFile)('sh', ['-euc', block], { cwd: folder, env });
    return stdout;
  }

  /** The commands of the block that has this one, each a block of its own from now on. */
  apart(command: string): readonly string[] {
    const block = this.#blocks.find((text) => text.includes(command));
    const commands = block?.trim().split('\n') ?? [];
    this.#blocks = [...this.#blocks.filter((other) => other !== block), ...commands];
    return commands;
  }

  /** Blocks of which nothing was run. */
  get left(): readonly string[] {
    return this.#blocks.filter((block) => !this.#ran.has(block));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#home, { recursive: true, force: true });
  }
}
