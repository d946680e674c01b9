/**
 * The cluster that end-to-end tests run on: the one of KUBECONFIG, which `make e2e` sets.
 *
 * ```ts
 * const cluster = await Cluster.connect();
 * await using namespace = await cluster.namespace();
 * await cluster.kubectl.apply(...);
 * await using forward = await cluster.forward(namespace.name, 'pod/relay-0', 9465);
 * ```
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Kubectl } from './kubectl.ts';
import { makeNamespace, type Namespace, RESTRICTED } from './namespace.ts';
import { program } from './programs.ts';

export interface Forward extends AsyncDisposable {
  /** On 127.0.0.1. */
  readonly port: number;
}

export class Cluster {
  readonly kubectl: Kubectl;
  readonly #program: string;

  private constructor(program: string, kubeconfig: string) {
    this.#program = program;
    this.kubectl = new Kubectl(program, kubeconfig);
  }

  static async connect(): Promise<Cluster> {
    const kubeconfig = process.env.KUBECONFIG;
    assert.ok(kubeconfig, 'KUBECONFIG names no cluster: run make e2e, or make cluster and what it says');
    return new Cluster(await program('kubectl'), kubeconfig);
  }

  /** One under the restricted profile, where no other labels are given. */
  async namespace(labels: Readonly<Record<string, string>> = RESTRICTED): Promise<Namespace> {
    return makeNamespace(this.kubectl, labels);
  }

  /** Leads a port of loopback to one of a pod or Service, such as `pod/relay-0`. */
  async forward(namespace: string, object: string, port: number): Promise<Forward> {
    const words = ['port-forward', `--namespace=${namespace}`, '--address=127.0.0.1', object, `:${port}`];
    const env = { ...process.env, KUBECONFIG: this.kubectl.kubeconfig };
    const child = spawn(this.#program, words, { stdio: ['ignore', 'pipe', 'inherit'], env });
    const closed = once(child, 'close');
    for await (const line of createInterface(child.stdout)) {
      const [, local] = /^Forwarding from 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
      if (local === undefined) continue;
      // Nobody reads what it says of each connection.
      child.stdout.resume();
      const end = async (): Promise<void> => {
        child.kill();
        await closed;
      };
      return { port: Number(local), [Symbol.asyncDispose]: end };
    }
    throw new Error(`kubectl ${words.join(' ')} ended`);
  }
}
