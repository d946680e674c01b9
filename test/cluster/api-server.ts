/**
 * A real API server for tests: etcd and kube-apiserver in a folder and on loopback ports of their own, with RBAC. There
 * is no node, and no controller unless one is asked for, so objects stay as they were written.
 *
 * ```ts
 * await using api = await ApiServer.start();
 * await api.applyCrds();
 * await api.kubectl.apply(manifest);
 * const tenant = await api.user('ada', ['tenants']);
 * await tenant.run('get', 'smtprelays');
 * ```
 *
 * Where KUBECONFIG is set, that cluster is taken as it is, and nothing is started: what needs an API server of one's own
 * (`needsOwnApiServer`) cannot be had there.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crd } from '../../crds/generate.ts';
import { KINDS } from '../../crds/kinds.ts';
import { freePorts } from '../harness/standalone.ts';
import { type AuditEvent, auditEvents, writeAuditPolicy } from './audit.ts';
import { Authority, type KeyPair } from './certificates.ts';
import { Daemon } from './daemon.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { Kubectl } from './kubectl.ts';
import { makeNamespace, type Namespace } from './namespace.ts';
import { program } from './programs.ts';

const EXISTING = process.env.KUBECONFIG;
const STOP_MS = 10_000;

/** Options of a test that stops the API server, sets its flags, or makes users. */
export const needsOwnApiServer = {
  skip: EXISTING ? 'needs an API server of its own: run it without KUBECONFIG' : false,
};

export interface ApiServerWish {
  /** Further flags of kube-apiserver. */
  readonly flags?: readonly string[];
  /** Whether requests are written down, for `audit()`. */
  readonly audit?: boolean;
  /** Whether kube-controller-manager runs: StatefulSets make pods, namespaces go, garbage is collected. */
  readonly controllers?: boolean;
}

interface Own {
  readonly folder: string;
  readonly authority: Authority;
  readonly etcd: Daemon;
  readonly controllers?: Daemon;
  server: Daemon;
}

export class ApiServer implements AsyncDisposable {
  /** Such as `https://127.0.0.1:12345`; empty for a cluster that was there. */
  readonly url: string;
  /** As the administrator. */
  readonly kubectl: Kubectl;
  readonly #run: (() => Promise<Daemon>) | undefined;
  readonly #own: Own | undefined;

  private constructor(url: string, kubectl: Kubectl, own?: Own, run?: () => Promise<Daemon>) {
    this.url = url;
    this.kubectl = kubectl;
    this.#own = own;
    this.#run = run;
  }

  /** Path of the administrator's kubeconfig. */
  get kubeconfig(): string {
    return this.kubectl.kubeconfig;
  }

  static async start(wish: ApiServerWish = {}): Promise<ApiServer> {
    const kubectl = await program('kubectl');
    if (EXISTING) return new ApiServer('', new Kubectl(kubectl, EXISTING));
    await using undo = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'api-server-'));
    undo.defer(() => rm(folder, { recursive: true, force: true }));
    const authority = await Authority.create(folder, 'ca');
    const [etcdPort = 0, peerPort = 0, port = 0] = await freePorts(3);
    const etcd = undo.use(await startEtcd(folder, etcdPort, peerPort));
    const url = `https://127.0.0.1:${port}`;
    const words = await serverWords(folder, authority, { etcdPort, port }, wish);
    const admin = await authority.issue('admin', { name: 'admin', groups: ['system:masters'] });
    const kubeconfig = await writeKubeconfig(join(folder, 'admin.kubeconfig'), {
      ...{ url, ca: authority.pair.cert, user: admin },
    });
    const client = new Kubectl(kubectl, kubeconfig);
    const binary = await program('kube-apiserver');
    const ready = async (): Promise<boolean> => (await client.attempt(['get', '--raw=/readyz'])).code === 0;
    const run = () => Daemon.start(binary, words, join(folder, 'kube-apiserver.log'), ready);
    const server = undo.use(await run());
    const controllers = wish.controllers ? undo.use(await startControllers(folder, authority, kubeconfig)) : undefined;
    undo.move();
    return new ApiServer(url, client, { folder, authority, etcd, server, ...(controllers && { controllers }) }, run);
  }

  /** kubectl as another user, who may do nothing until a role is bound to it. */
  async user(name: string, groups: readonly string[] = []): Promise<Kubectl> {
    const { authority, folder } = this.#mine();
    const user = await authority.issue(`user-${name}`, { name, groups });
    return this.#as(join(folder, `user-${name}.kubeconfig`), user);
  }

  /** kubectl as a ServiceAccount that exists, by a token of an hour. */
  async serviceAccount(namespace: string, name: string): Promise<Kubectl> {
    const { folder } = this.#mine();
    const token = await this.kubectl.run('create', 'token', name, `--namespace=${namespace}`);
    return this.#as(join(folder, `token-${namespace}-${name}.kubeconfig`), { token: token.trim() });
  }

  /** Makes the API server know our kinds. */
  async applyCrds(): Promise<void> {
    await this.kubectl.apply(...KINDS.map(crd));
    await this.kubectl.run('wait', '--for=condition=Established', 'crd', ...KINDS.map(nameOfCrd), '--timeout=60s');
  }

  /** A namespace of the caller's own. */
  async namespace(): Promise<Namespace> {
    return makeNamespace(this.kubectl, {});
  }

  /** Ends the API server; etcd goes on. */
  async stop(): Promise<void> {
    await this.#mine().server.stop(STOP_MS);
  }

  /** Starts it again after `stop`, at the same address, and waits until it is ready. */
  async restart(): Promise<void> {
    const own = this.#mine();
    await this.stop();
    assert.ok(this.#run);
    own.server = await this.#run();
  }

  /** Connections stay open, and nothing answers any more. */
  async pause(): Promise<void> {
    await this.#mine().server.halt();
  }

  resume(): void {
    this.#mine().server.goOn();
  }

  /** The requests so far, in the order in which they were told; of an API server that was started with `audit`. */
  async audit(): Promise<readonly AuditEvent[]> {
    return auditEvents(await readFile(join(this.#mine().folder, 'audit.log'), 'utf8'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#own) return;
    const { folder, etcd, server, controllers } = this.#own;
    for (const daemon of [controllers, server, etcd]) await daemon?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }

  async #as(path: string, user: KeyPair | { readonly token: string }): Promise<Kubectl> {
    const { authority } = this.#mine();
    return new Kubectl(
      await program('kubectl'),
      await writeKubeconfig(path, { url: this.url, ca: authority.pair.cert, user }),
    );
  }

  #mine(): Own {
    assert.ok(this.#own, 'KUBECONFIG is set: that API server is not ours to change');
    return this.#own;
  }
}

export const nameOfCrd = ({ plural }: { readonly plural: string }): string => `${plural}.chasqui.dev`;

async function startEtcd(folder: string, port: number, peerPort: number): Promise<Daemon> {
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
  const words = [
    // What it holds lives no longer than the test, so there is nothing to sync.
    ...['--unsafe-no-fsync', `--data-dir=${join(folder, 'etcd')}`, '--log-level=warn'],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`, `--initial-cluster=default=${peer}`],
  ];
  return Daemon.start(await program('etcd'), words, join(folder, 'etcd.log'), () => answers(`${client}/readyz`));
}

async function serverWords(
  folder: string,
  authority: Authority,
  { etcdPort, port }: { readonly etcdPort: number; readonly port: number },
  { flags = [], audit = false, controllers = false }: ApiServerWish,
): Promise<readonly string[]> {
  const serving = await authority.issue('kube-apiserver', {
    name: 'kube-apiserver',
    altNames: ['IP:127.0.0.1', 'DNS:localhost', 'DNS:kubernetes.default.svc'],
  });
  const signing = join(folder, 'service-accounts.key');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(signing, privateKey.export({ format: 'pem', type: 'pkcs1' }), { mode: 0o600 });
  await mkdir(join(folder, 'cache'));
  return [
    ...[`--etcd-servers=http://127.0.0.1:${etcdPort}`, '--bind-address=127.0.0.1', `--secure-port=${port}`],
    // Endpoints of the Service `kubernetes` may not be loopback, and nothing here connects to them.
    ...['--advertise-address=192.0.2.1', '--service-cluster-ip-range=10.96.0.0/16', '--authorization-mode=RBAC'],
    ...[`--client-ca-file=${authority.pair.cert}`, `--tls-cert-file=${serving.cert}`],
    ...[`--tls-private-key-file=${serving.key}`, '--service-account-issuer=https://kubernetes.default.svc'],
    ...[`--service-account-key-file=${signing}`, `--service-account-signing-key-file=${signing}`],
    // Without its controller no namespace has the ServiceAccount that each pod would need.
    ...(controllers ? [] : ['--disable-admission-plugins=ServiceAccount']),
    ...(audit ? [`--audit-log-path=${join(folder, 'audit.log')}`, await writeAuditPolicy(folder)] : []),
    ...flags,
  ];
}

async function startControllers(folder: string, authority: Authority, kubeconfig: string): Promise<Daemon> {
  const [port = 0] = await freePorts(1);
  const words = [
    ...['', 'authentication-', 'authorization-'].map((of) => `--${of}kubeconfig=${kubeconfig}`),
    ...[`--service-account-private-key-file=${join(folder, 'service-accounts.key')}`, '--leader-elect=false'],
    ...[`--root-ca-file=${authority.pair.cert}`, '--use-service-account-credentials', '--bind-address=127.0.0.1'],
    ...[`--secure-port=${port}`, `--cert-dir=${join(folder, 'kube-controller-manager')}`],
  ];
  return Daemon.start(await program('kube-controller-manager'), words, join(folder, 'kube-controller-manager.log'));
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}
