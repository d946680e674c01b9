/** `chasqui uninstall` as the chart runs it: by its own service account, with the rights that the chart gives it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import { Helm, type Rendered } from './helm.ts';

const CHASQUI = join(import.meta.dirname, '../../bin/chasqui');
const FINALIZER = 'chasqui.dev/drain';
const SELECTOR = 'app.kubernetes.io/name=chasqui-operator,app.kubernetes.io/instance=chasqui';
const RIGHTS = ['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'RoleBinding'];

/** Longer than anything that a test waits for takes on a busy machine. */
const WAIT_MS = 60_000;

const namespace = (name: string) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
const relay = (name: string, where: string, finalizers: readonly string[] = [FINALIZER]) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpRelay',
  metadata: { name, namespace: where, finalizers },
  spec: {
    hostname: 'relay.example.test',
    listeners: [{ name: 'submission', protocol: 'Submission', port: 587 }],
  },
});

describe('chasqui uninstall', needsOwnApiServer, () => {
  let api: ApiServer;
  let helm: Helm;
  let kubeconfig: string;
  const children = new Set<ChildProcess>();
  before(async () => {
    helm = await Helm.prepare();
    api = await ApiServer.start();
    await api.kubectl.apply(...['chasqui-system', 'mail', 'team-a'].map(namespace));
    await api.kubectl.apply(...(await helm.template()).filter(({ kind }) => RIGHTS.includes(kind)));
    ({ kubeconfig } = await api.serviceAccount('chasqui-system', 'chasqui-uninstall'));
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await api?.[Symbol.asyncDispose]();
    await helm?.[Symbol.asyncDispose]();
  });

  /** A run of the program, which may go on for as long as it has to wait. */
  function uninstall(mode: 'Keep' | 'Delete', ...options: readonly string[]) {
    const words = ['uninstall', `--relays=${mode}`, '--operator=chasqui-system/chasqui', `--operator-pods=${SELECTOR}`];
    const child = spawn(CHASQUI, [...words, `--kubeconfig=${kubeconfig}`, ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.add(child);
    const ended = Promise.all([once(child, 'close'), text(child.stdout), text(child.stderr)]);
    /** Resolves once it has said something. */
    const speaks = () => once(child.stdout, 'data', { signal: AbortSignal.timeout(WAIT_MS) });
    return { speaks, ended: ended.then(([[code], stdout, stderr]) => ({ code, stdout, stderr })) };
  }
  const finalizersOf = (name: string, where: string): Promise<string> =>
    api.kubectl.run('get', 'smtprelay', name, `--namespace=${where}`, '--output=jsonpath={.metadata.finalizers}');
  /** What the operator does once a relay that is deleted has drained. */
  const drained = (name: string, where: string): Promise<string> =>
    api.kubectl.run(
      'patch',
      'smtprelay',
      name,
      `--namespace=${where}`,
      '--type=merge',
      '--patch={"metadata":{"finalizers":[]}}',
    );
  const whenDeleted = (name: string, where: string): Promise<string> =>
    api.kubectl.eventually(
      ['get', 'smtprelay', name, `--namespace=${where}`, '--output=jsonpath={.metadata.deletionTimestamp}'],
      /./,
    );

  test('has nothing to do where the CRDs are gone already, nor the operator', async () => {
    for (const mode of ['Keep', 'Delete'] as const) {
      const { code, stderr } = await uninstall(mode).ended;
      assert.deepEqual([code, stderr], [0, '']);
    }
  });

  describe('with relays', () => {
    before(() => api.applyCrds());
    beforeEach(async () => {
      const deployment = (await helm.template()).find(({ kind }) => kind === 'Deployment');
      assert.ok(deployment);
      await api.kubectl.apply(
        deployment,
        relay('outbound', 'mail'),
        relay('other', 'team-a', [FINALIZER, 'x.example/y']),
      );
    });

    test('Keep ends the operator before it takes the finalizers off, and leaves the relays', async () => {
      await api.kubectl.apply(operatorPod());
      const run = uninstall('Keep');
      const replicas = [
        'get',
        'deployment',
        'chasqui',
        '--namespace=chasqui-system',
        '--output=jsonpath={.spec.replicas}',
      ];
      await api.kubectl.eventually(replicas, /^0$/);
      assert.equal(
        await finalizersOf('outbound', 'mail'),
        `["${FINALIZER}"]`,
        'an operator that runs would put it back',
      );
      await api.kubectl.run('delete', 'pod', 'operator-0', '--namespace=chasqui-system', '--force');

      const { code, stdout, stderr } = await run.ended;
      assert.equal(code, 0, stderr);
      assert.equal(
        stdout,
        'waiting until the operator has ended: chasqui-system/operator-0\n' +
          'SmtpRelays stay, and no longer wait for the operator\n',
      );
      assert.equal(await finalizersOf('outbound', 'mail'), '');
      assert.equal(
        await finalizersOf('other', 'team-a'),
        '["x.example/y"]',
        "another's finalizer is not ours to take off",
      );
      await api.kubectl.run('delete', 'smtprelay', 'outbound', '--namespace=mail', '--timeout=20s');
    });

    test('Keep lets a relay that is being deleted drain first', async () => {
      await api.kubectl.run('delete', 'smtprelay', 'outbound', '--namespace=mail', '--wait=false');
      const run = uninstall('Keep');
      await run.speaks();
      await drained('outbound', 'mail');
      const { code, stdout, stderr } = await run.ended;
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^waiting for relays that are being deleted: mail\/outbound\n/);
      assert.equal(await finalizersOf('other', 'team-a'), '["x.example/y"]');
    });

    test('Delete deletes all relays, and waits until the operator has let them go', async () => {
      const run = uninstall('Delete');
      for (const [name, where] of [
        ['outbound', 'mail'],
        ['other', 'team-a'],
      ] as const) {
        await whenDeleted(name, where);
        await drained(name, where);
      }
      const { code, stdout, stderr } = await run.ended;
      assert.equal(code, 0, stderr);
      assert.match(
        stdout,
        /^waiting until these relays have delivered what they have: mail\/outbound, team-a\/other\n/,
      );
      assert.equal(await api.kubectl.run('get', 'smtprelays', '--all-namespaces', '--output=name'), '');
    });

    test('with a scope it needs no rights in the cluster, and leaves the relays of others alone', async () => {
      const scope = '--set=scope.namespaces={mail}';
      await api.kubectl.run('delete', 'clusterrolebinding', 'chasqui-uninstall');
      await api.kubectl.apply(...(await helm.template(scope)).filter(({ kind }) => RIGHTS.includes(kind)));
      const { code, stderr } = await uninstall('Keep', '--namespaces=mail').ended;
      assert.equal(code, 0, stderr);
      assert.equal(await finalizersOf('outbound', 'mail'), '');
      assert.equal(await finalizersOf('other', 'team-a'), `["${FINALIZER}","x.example/y"]`);
    });
  });

  test('the chart runs it before it is uninstalled, and nothing of it stays', async () => {
    const made = (await helm.template('--set=scope.namespaces={mail},uninstall.relays=Delete')) as readonly JobLike[];
    const hooks = made.filter(({ metadata }) => metadata.name.startsWith('chasqui-uninstall'));
    for (const { kind, metadata } of hooks) {
      assert.equal(metadata.annotations?.['helm.sh/hook'], 'pre-delete', kind);
      assert.equal(metadata.annotations?.['helm.sh/hook-delete-policy'], 'before-hook-creation,hook-succeeded', kind);
    }
    const [job] = hooks.filter(({ kind }) => kind === 'Job');
    assert.deepEqual(job?.spec?.template.spec.containers[0].args, [
      ...['uninstall', '--relays=Delete', '--operator=chasqui-system/chasqui'],
      ...[`--operator-pods=${SELECTOR}`, '--namespaces=mail'],
    ]);
  });
});

type JobLike = Rendered & {
  readonly spec?: {
    readonly template: { readonly spec: { readonly containers: readonly [{ readonly args: unknown }] } };
  };
};

const operatorPod = () => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'operator-0',
    namespace: 'chasqui-system',
    labels: Object.fromEntries(SELECTOR.split(',').map((label) => label.split('='))),
  },
  spec: { containers: [{ name: 'operator', image: 'chasqui' }] },
});
