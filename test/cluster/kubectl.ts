/** kubectl as one user of one API server. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';

/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 60_000;
const LOOK_MS = 100;

export interface Outcome {
  /** Exit code; 0 is success. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Kubectl {
  readonly #program: string;
  /** Path of the file that says where and as whom. */
  readonly kubeconfig: string;

  constructor(program: string, kubeconfig: string) {
    this.#program = program;
    this.kubeconfig = kubeconfig;
  }

  /** Runs it to its end, whatever that is. */
  async attempt(words: readonly string[], input = ''): Promise<Outcome> {
    // Beside the file, so that what was learnt of one API server is not believed of the next one on its port.
    const cache = join(dirname(this.kubeconfig.split(delimiter)[0] ?? ''), 'cache');
    const env = { ...process.env, KUBECONFIG: this.kubeconfig, KUBECACHEDIR: cache };
    const child = spawn(this.#program, words, { stdio: 'pipe', env });
    // One that fails early reads no input; its exit code tells.
    child.stdin.on('error', () => undefined).end(input);
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, stdout, stderr };
  }

  /** What it says; fails with what it complains about. */
  async run(...words: readonly string[]): Promise<string> {
    return this.#succeed(words);
  }

  /** What it says once it succeeds with something that fits; fails with the last it said. */
  async eventually(words: readonly string[], fits: RegExp = /(?:)/): Promise<string> {
    const deadline = Date.now() + WAIT_MS;
    for (;;) {
      const { code, stdout, stderr } = await this.attempt(words);
      if (code === 0 && fits.test(stdout)) return stdout;
      assert.ok(Date.now() < deadline, `kubectl ${words.join(' ')} still says:\n${stdout}${stderr}`);
      await pause(LOOK_MS);
    }
  }

  /** An object, or a list, as the API server has it. */
  async json(...words: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.#succeed([...words, '--output=json']));
  }

  /** Applies objects, by the API server's own merge. */
  async apply(...objects: readonly object[]): Promise<string> {
    return this.#succeed(['apply', '--server-side', '--filename=-'], manifest(objects));
  }

  /** Asks whether it would take the objects; unknown fields are errors, as they are in `kubectl apply`. */
  async dryRun(...objects: readonly object[]): Promise<Outcome> {
    return this.attempt(['create', '--dry-run=server', '--validate=strict', '--filename=-'], manifest(objects));
  }

  async #succeed(words: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.attempt(words, input);
    assert.equal(code, 0, `kubectl ${words.join(' ')} failed:\n${stderr}`);
    return stdout;
  }
}

const manifest = (objects: readonly object[]): string =>
  objects.map((object) => JSON.stringify(object)).join('\n---\n');
