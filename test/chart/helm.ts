/** helm on the chart of this project, with a home of its own. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadAll, YAML11_SCHEMA } from 'js-yaml';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { program } from '../cluster/programs.ts';

export const CHART = join(import.meta.dirname, '../../charts/chasqui');
/** Of the API server of the tests; helm by itself takes the newest one that it knows. */
const KUBERNETES = '1.35.4';

const OBJECT = Type.Object({
  apiVersion: Type.String(),
  kind: Type.String(),
  metadata: Type.Object({
    name: Type.String(),
    namespace: Type.Optional(Type.String()),
    annotations: Type.Optional(Type.Unsafe<Record<string, string>>({ type: 'object' })),
  }),
});
const Rendered = Schema.Compile(OBJECT);
export type Rendered = Type.Static<typeof OBJECT>;

export interface HelmOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Helm implements AsyncDisposable {
  readonly #program: string;
  readonly #home: string;
  readonly #kubeconfig: string | undefined;

  private constructor(path: string, home: string, kubeconfig: string | undefined) {
    this.#program = path;
    this.#home = home;
    this.#kubeconfig = kubeconfig;
  }

  /** @param kubeconfig of the cluster that it acts on, if on any */
  static async prepare(kubeconfig?: string): Promise<Helm> {
    return new Helm(await program('helm'), await mkdtemp(join(tmpdir(), 'helm-')), kubeconfig);
  }

  /** Runs it to its end, whatever that is. */
  async attempt(...words: readonly string[]): Promise<HelmOutcome> {
    const kubeconfig = this.#kubeconfig ?? join(this.#home, 'none');
    const env = { PATH: process.env.PATH, HOME: this.#home, KUBECONFIG: kubeconfig };
    try {
      return { code: 0, ...(await promisify(execFile)(this.#program, words, { env, maxBuffer: 2 ** 26 })) };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, stdout, stderr };
    }
  }

  /** What it says; fails with what it complains about. */
  async run(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.attempt(...words);
    assert.equal(code, 0, `helm ${words.join(' ')} failed:\n${stderr}`);
    return stdout;
  }

  /** The objects that an installation as `chasqui` in the namespace `chasqui-system` would make. */
  async template(...options: readonly string[]): Promise<readonly Rendered[]> {
    const place = ['--namespace=chasqui-system', `--kube-version=${KUBERNETES}`];
    const text = await this.run('template', 'chasqui', CHART, ...place, ...options);
    const objects: readonly unknown[] = loadAll(text, null, { schema: YAML11_SCHEMA }).filter((one) => one !== null);
    return objects.map((object) => {
      assert.ok(Rendered.Check(object), `no object: ${JSON.stringify(object)}`);
      return object;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#home, { recursive: true, force: true });
  }
}
