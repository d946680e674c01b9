/**
 * Plays the scheduler and a node for the pods of a StatefulSet, where there is none: the containers are real `chasqui
 * relay` processes, each at a loopback address of its own, with the arguments, config and claim that its pod says. What
 * the kubelet does is done as it does it: mounts are looked at when the pod changes and else not for a long time, a pod
 * that is deleted gets SIGTERM and goes once the process has ended.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { KubernetesApi, LiveObject } from '../../operator/backends/kubernetes/api.ts';
import { NotFound } from '../../operator/backends/kubernetes/api-error.ts';
import { CLAIM_KIND, POD, SECRET } from '../../operator/backends/kubernetes/children/kinds.ts';
import { MountedFolder } from '../harness/mounted-folder.ts';
import type { ApiServer } from './api-server.ts';

const CHASQUI = join(import.meta.dirname, '../../bin/chasqui');
const NODE = 'played';
const LOOK_MS = 50;

/** What is read of a pod; a test may trust the API server. */
interface PodSpec {
  readonly containers: readonly { readonly args: readonly string[] }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly projected?: { readonly sources: readonly { readonly secret: { readonly name: string } }[] };
    readonly secret?: { readonly secretName: string };
    readonly persistentVolumeClaim?: { readonly claimName: string };
  }[];
}

interface Running {
  readonly child: ChildProcess;
  readonly config: MountedFolder;
  readonly lines: string[];
  ready: boolean;
  refresh: string | undefined;
  ending: boolean;
}

export class PlayedNode implements AsyncDisposable {
  /** Where ordinal N has its address, with `{ordinal}` in place of the number. */
  readonly place: string;
  readonly #api: KubernetesApi;
  readonly #server: ApiServer;
  readonly #root: string;
  readonly #running = new Map<string, Running>();
  readonly #end = new AbortController();
  #work: Promise<void> = Promise.resolve();

  private constructor(server: ApiServer, api: KubernetesApi, root: string, network: number) {
    this.#server = server;
    this.#api = api;
    this.#root = root;
    this.place = `127.78.${network}.{ordinal}`;
  }

  /** @param network number of the loopback network of its pods: of each test file another */
  static async start(server: ApiServer, api: KubernetesApi, network: number): Promise<PlayedNode> {
    const root = await mkdtemp(join(tmpdir(), 'node-'));
    await server.kubectl.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: NODE } });
    const node = new PlayedNode(server, api, root, network);
    node.#work = node.#play();
    return node;
  }

  addressOf(ordinal: number): string {
    return this.place.replace('{ordinal}', String(ordinal));
  }

  /** Log lines of all processes that ran in pods of this name. */
  lines(pod: string): readonly string[] {
    return [...this.#running].flatMap(([id, { lines }]) => (id.startsWith(`${pod}/`) ? lines : []));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#work;
    for (const { child } of this.#running.values()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(this.#root, { recursive: true, force: true });
  }

  async #play(): Promise<void> {
    while (!this.#end.signal.aborted) {
      const { items } = await this.#api.list(POD, { labelSelector: 'app.kubernetes.io/name=chasqui-relay' });
      for (const pod of items) {
        await this.#see(pod).catch((error: unknown) => {
          // It went, or changed, in between.
          if (!/NotFound|Conflict/.test(String(error))) throw error;
        });
      }
      await pause(LOOK_MS);
    }
  }

  async #see(pod: LiveObject): Promise<void> {
    const id = `${pod.metadata.name}/${pod.metadata.uid}`;
    const running = this.#running.get(id);
    if (pod.metadata.deletionTimestamp !== undefined) return await this.#terminate(pod, running);
    if (!running) return await this.#start(pod, id);
    const refresh = pod.metadata.annotations?.['chasqui.dev/config-refresh'];
    if (refresh !== running.refresh) {
      running.refresh = refresh;
      running.config.swap(await this.#documents(pod));
    }
    const ready = await isReady(this.#ipOf(pod));
    if (ready === running.ready) return;
    running.ready = ready;
    await this.#tell(pod, ready);
  }

  async #start(pod: LiveObject, id: string): Promise<void> {
    const { namespace, name } = pod.metadata;
    const spec = pod.spec as PodSpec;
    const folder = join(this.#root, id.replace('/', '-'));
    await mkdir(folder);
    const config = new MountedFolder(join(folder, 'config'), await this.#documents(pod));
    const tokens = spec.volumes.find(({ secret }) => secret)?.secret?.secretName ?? '';
    await mkdir(join(folder, 'admin'));
    for (const [file, text] of await this.#secret(namespace, tokens)) {
      await writeFile(join(folder, 'admin', file), text);
      await chmod(join(folder, 'admin', file), 0o440);
    }
    const claim = spec.volumes.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName ?? '';
    const { metadata } = await this.#api.get(CLAIM_KIND, { namespace, name: claim });
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name }, target: { kind: 'Node', name: NODE } };
    const raw = `--raw=/api/v1/namespaces/${namespace}/pods/${name}/binding`;
    const bound = await this.#server.kubectl.attempt(['create', raw, '-f', '-'], JSON.stringify(binding));
    assert.ok(bound.code === 0 || /already assigned|NotFound/.test(bound.stderr), bound.stderr);

    const ip = this.#ipOf(pod);
    const places: readonly (readonly [string, string])[] = [
      ['/etc/chasqui/config', config.path],
      ['/etc/chasqui/admin', join(folder, 'admin')],
      // What is written to a claim outlives the pod.
      ['/var/lib/chasqui', join(this.#root, metadata.uid)],
      ['/run/chasqui', folder],
      ['0.0.0.0', ip],
      ['$(POD_INDEX)', pod.metadata.labels?.['apps.kubernetes.io/pod-index'] ?? ''],
    ];
    const args = (spec.containers[0]?.args ?? []).map((arg) =>
      places.reduce((text, [inPod, here]) => text.replace(inPod, here), arg),
    );
    const child = spawn(CHASQUI, [...args, '--listen-address', ip], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines: string[] = [];
    child.stdout.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').filter(Boolean)));
    const refresh = pod.metadata.annotations?.['chasqui.dev/config-refresh'];
    this.#running.set(id, { child, config, lines, refresh, ready: false, ending: false });
    await this.#tell(pod, false);
  }

  /** SIGTERM; the pod goes once its process has ended. */
  async #terminate(pod: LiveObject, running: Running | undefined): Promise<void> {
    if (!running || running.ending) return;
    running.ending = true;
    const { child } = running;
    const { namespace, name, uid } = pod.metadata;
    const gone = async (): Promise<void> => {
      const words = ['delete', 'pod', name, `--namespace=${namespace}`, '--grace-period=0', '--force', '--wait=false'];
      const live = await this.#api.get(POD, { namespace, name }).catch((error: unknown) => {
        if (!(error instanceof NotFound)) throw error;
      });
      if (live?.metadata.uid === uid) await this.#server.kubectl.attempt(words);
    };
    if (child.exitCode === null && child.signalCode === null) {
      child.once('exit', () => void gone());
      child.kill('SIGTERM');
    } else await gone();
  }

  async #tell(pod: LiveObject, ready: boolean): Promise<void> {
    const { metadata } = pod;
    const ip = this.#ipOf(pod);
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const conditions = ['PodScheduled', 'Ready'].map((type) => ({
      ...{ type, status: type === 'Ready' && !ready ? 'False' : 'True', lastTransitionTime: now },
    }));
    const status = {
      phase: 'Running',
      ...{ podIP: ip, podIPs: [{ ip }], hostIP: '192.0.2.1', hostIPs: [{ ip: '192.0.2.1' }], conditions },
      containerStatuses: [
        {
          ...{ name: 'relay', image: 'played', imageID: 'played', containerID: `played://${metadata.uid}` },
          ...{ ready, started: true, restartCount: 0, state: { running: { startedAt: now } } },
        },
      ],
    };
    await this.#api.patch(POD, metadata, { status }, { subresource: 'status' });
  }

  async #documents(pod: LiveObject): Promise<Map<string, string>> {
    const { volumes } = pod.spec as PodSpec;
    const sources = volumes.flatMap(({ projected }) => projected?.sources ?? []);
    const secrets = sources.map(({ secret }) => this.#secret(pod.metadata.namespace, secret.name));
    return new Map((await Promise.all(secrets)).flat());
  }

  async #secret(namespace: string, name: string): Promise<[string, string][]> {
    try {
      const { data } = await this.#api.get(SECRET, { namespace, name });
      const entries = Object.entries(data as Record<string, string>);
      return entries.map(([file, text]) => [file, Buffer.from(text, 'base64').toString('utf8')]);
    } catch (error) {
      if (error instanceof NotFound) return [];
      throw error;
    }
  }

  #ipOf({ metadata }: LiveObject): string {
    return this.addressOf(Number(metadata.labels?.['apps.kubernetes.io/pod-index']));
  }
}

function isReady(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    get({ host, port: 9465, path: '/readyz', timeout: 2_000, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    })
      .on('timeout', () => resolve(false))
      .on('error', () => resolve(false));
  });
}
