/**
 * The operator on the cluster of end-to-end tests, installed by its chart from an image of these sources, and a namespace
 * for the mail of one test. Both go when it is disposed of.
 */
import { join } from 'node:path';
import { type Built, buildImage } from '../../image/build.ts';
import { Cluster } from '../cluster/cluster.ts';
import { makeNamespace, type Namespace, RESTRICTED } from '../cluster/namespace.ts';
import { importImage, importProbe } from '../cluster/node/images.ts';
import { CHART, Helm } from './helm.ts';

export const IMAGES = join(import.meta.dirname, '../../.cache/image');
const SYSTEM = 'chasqui-system';

export class Installation implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly helm: Helm;
  /** Of the mail. */
  readonly namespace: Namespace;
  readonly image: Built;

  private constructor(cluster: Cluster, helm: Helm, namespace: Namespace, image: Built) {
    this.cluster = cluster;
    this.helm = helm;
    this.namespace = namespace;
    this.image = image;
  }

  /** @param name of the namespace, where a guide says it; what an earlier test left of it goes first */
  static async begin(name?: string): Promise<Installation> {
    const cluster = await Cluster.connect();
    const helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    const image = await buildImage(IMAGES);
    await importImage(image.archive);
    await importProbe();
    const former = [SYSTEM, ...(name === undefined ? [] : [name])];
    await cluster.kubectl.run('delete', 'namespace', '--ignore-not-found', '--timeout=2m', ...former);
    const namespace = await makeNamespace(cluster.kubectl, RESTRICTED, name);
    const installation = new Installation(cluster, helm, namespace, image);
    const place = [`--namespace=${SYSTEM}`, '--create-namespace', '--wait'];
    // CRDs of an earlier test, or of kubectl, are taken over.
    const over = ['--take-ownership', '--force-conflicts'];
    const { code, stderr } = await helm.attempt('install', 'chasqui', CHART, ...place, ...over);
    if (code === 0) return installation;
    await installation[Symbol.asyncDispose]();
    throw new Error(`helm install failed:\n${stderr}`);
  }

  /** kubectl in the namespace of the mail. */
  async kubectl(...words: readonly string[]): Promise<string> {
    return (await this.cluster.kubectl.run(...words, `--namespace=${this.namespace.name}`)).trim();
  }

  /** See Kubectl, in the namespace of the mail. */
  async eventually(words: readonly string[], like: RegExp): Promise<string> {
    return this.cluster.kubectl.eventually([...words, `--namespace=${this.namespace.name}`], like);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { kubectl } = this.cluster;
    await kubectl.attempt(['delete', 'smtprelay', '--all', `--namespace=${this.namespace.name}`, '--timeout=60s']);
    await this.namespace[Symbol.asyncDispose]();
    await this.helm.attempt('uninstall', 'chasqui', `--namespace=${SYSTEM}`, '--no-hooks');
    await kubectl.attempt(['delete', 'namespace', SYSTEM, '--ignore-not-found', '--wait=false']);
    await this.helm[Symbol.asyncDispose]();
  }
}
