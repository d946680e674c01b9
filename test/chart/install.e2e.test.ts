/** docs/install.md, command by command, on a cluster: what it says comes true, and what it promises to keep is kept. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../image/build.ts';
import { Cluster } from '../cluster/cluster.ts';
import { RESTRICTED } from '../cluster/namespace.ts';
import { importImage } from '../cluster/node/images.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { Guide } from './guide.ts';
import { CHART, Helm } from './helm.ts';

const ROOT = join(import.meta.dirname, '../..');
const KINDS = ['smtprelays', 'maildomains', 'smtpusers'].map((plural) => `crd/${plural}.chasqui.dev`);
const RELAY = ['get', 'smtprelay', 'outbound', '--namespace=mail'] as const;
const POD = ['get', 'pod', 'outbound-0', '--namespace=mail'] as const;

describe('docs/install.md', () => {
  let cluster: Cluster;
  let guide: Guide;

  before(async () => {
    cluster = await Cluster.connect();
    guide = await Guide.open('install.md', cluster.kubectl.kubeconfig);
    await cluster.kubectl.run('delete', '--ignore-not-found', ...KINDS);
    const metadata = { name: 'chasqui-system', labels: RESTRICTED };
    await cluster.kubectl.apply({ apiVersion: 'v1', kind: 'Namespace', metadata });
  });
  after(async () => {
    await cluster?.kubectl.attempt([
      'delete',
      'namespace',
      'chasqui-system',
      'mail',
      '--ignore-not-found',
      '--wait=false',
    ]);
    await guide?.[Symbol.asyncDispose]();
  });

  const run = (command: string): Promise<string> => guide.run(command);
  const field = (object: readonly string[], path: string): Promise<string> =>
    cluster.kubectl.run(...object, `--output=jsonpath={${path}}`);
  const podIs = async (): Promise<string> =>
    field(POD, '.metadata.uid}{" "}{.status.containerStatuses[0].restartCount');
  const greeting = async (): Promise<string> => {
    await using forward = await cluster.forward('mail', 'service/outbound', 587);
    await using client = await SmtpClient.connect(forward.port);
    return client.greeting;
  };
  const ready = () =>
    cluster.kubectl.run('wait', '--for=condition=Ready', '--timeout=2m', 'smtprelay/outbound', '--namespace=mail');

  test('builds the image, and names it as the chart does', async () => {
    const [name, released, archive = ''] = (await run('make image')).trim().split('\n').slice(-3);
    assert.match(name ?? '', /^docker\.io\/library\/chasqui:0\.1\.0-[0-9a-f]{12}/);
    assert.equal(released, 'docker.io/library/chasqui:0.1.0');
    await importImage(archive);
  });

  test('installs with one command', async () => {
    const notes = await run('helm install chasqui charts/chasqui --namespace chasqui-system --create-namespace --wait');
    assert.match(notes, /STATUS: deployed[\s\S]*kubectl apply/);
    assert.match(await run('rollout status'), /successfully rolled out[\s\S]*smtpusers\.chasqui\.dev/);
    assert.equal(
      await field(['get', 'deployment', 'chasqui', '--namespace=chasqui-system'], '.status.readyReplicas'),
      '2',
    );
  });

  let pod: string;
  let tokens: string;
  test('makes a relay that takes connections', async () => {
    assert.match(await run('kind: SmtpRelay'), /condition met/);
    assert.match(await greeting(), /^220 relay\.example\.com /);
    assert.equal(await field(RELAY, '.metadata.finalizers'), '["chasqui.dev/drain"]');
    pod = await podIs();
    tokens = await field(['get', 'secret', 'outbound-admin', '--namespace=mail'], '.data');
  });

  test('takes a scope on, and off again, and replaces no relay by it', async () => {
    await run('scope.namespaces={mail}');
    const bound = await cluster.kubectl.run(
      'get',
      'clusterrolebindings',
      '--selector=app.kubernetes.io/instance=chasqui',
      '--output=name',
    );
    assert.equal(bound, '');
    await touch('scoped');
    await run('--reset-values');
    await touch('everywhere');
    assert.equal(await podIs(), pod);
  });

  /** The operator of now is at work: it takes a change of the relay up. */
  async function touch(what: string): Promise<void> {
    const patch = JSON.stringify({ metadata: { annotations: { what } }, spec: { hostname: `${what}.example.com` } });
    await cluster.kubectl.run('patch', 'smtprelay', 'outbound', '--namespace=mail', '--type=merge', `--patch=${patch}`);
    const generation = await field(RELAY, '.metadata.generation');
    await cluster.kubectl.eventually(
      [...RELAY, '--output=jsonpath={.status.conditions[?(@.type=="Programmed")]}'],
      new RegExp(`"observedGeneration":${generation},.*"status":"True"`),
    );
    assert.match(await greeting(), new RegExp(`^220 ${what}\\.example\\.com `));
  }

  test('is uninstalled, and leaves relays that run on and wait for nobody', async () => {
    await run('helm uninstall chasqui --namespace chasqui-system --wait');
    await cluster.kubectl.run('get', ...KINDS);
    assert.equal(await field(RELAY, '.metadata.finalizers'), '');
    assert.equal(await podIs(), pod);
    assert.match(await greeting(), /^220 everywhere\.example\.com /);
    const left = await cluster.kubectl.run(
      ...['get', 'clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings'],
      ...['--selector=app.kubernetes.io/instance=chasqui', '--output=name'],
    );
    assert.equal(left, '');
    const own = await cluster.kubectl.run(
      'get',
      'all,serviceaccounts,rolebindings',
      '--namespace=chasqui-system',
      '--output=name',
    );
    assert.equal(own, 'serviceaccount/default\n');
  });

  test('is installed again, takes the relay up as it is, and then lets it end with the operator', async () => {
    const [install = '', uninstall = ''] = guide.apart('uninstall.relays=Delete');
    await run(install);
    await ready();
    await cluster.kubectl.eventually([...RELAY, '--output=jsonpath={.metadata.finalizers}'], /drain/);
    assert.equal(await podIs(), pod, 'the same pod runs on');
    assert.equal(await field(['get', 'secret', 'outbound-admin', '--namespace=mail'], '.data'), tokens);
    await touch('again');

    await run(uninstall);
    const left = await cluster.kubectl.run('get', 'smtprelays,pods,statefulsets', '--namespace=mail', '--output=name');
    assert.equal(left, '');
  });

  test('is gone without a trace once CRDs and namespaces are deleted, within a minute', async () => {
    await run('kubectl delete crds');
    const gone = await cluster.kubectl.run(
      'get',
      '--ignore-not-found',
      '--output=name',
      'ns/mail',
      'ns/chasqui-system',
      ...KINDS,
    );
    assert.equal(gone, '');
  });

  test('has no command that was not run', () => {
    assert.deepEqual(guide.left, []);
  });
});

describe('relays that were left behind by their operator', () => {
  let cluster: Cluster;
  let helm: Helm;
  before(async () => {
    cluster = await Cluster.connect();
    helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    await cluster.kubectl.run('delete', '--ignore-not-found', ...KINDS);
    await importImage((await buildImage(join(ROOT, '.cache/image'))).archive);
  });
  after(async () => {
    await helm?.attempt('uninstall', 'chasqui', '--namespace=chasqui-system', '--no-hooks');
    await cluster?.kubectl.attempt(['delete', '--ignore-not-found', '--wait=false', 'ns/chasqui-system', ...KINDS]);
    await helm?.[Symbol.asyncDispose]();
  });

  const install = (...options: readonly string[]) =>
    helm.run('install', 'chasqui', CHART, '--namespace=chasqui-system', '--create-namespace', '--wait', ...options);
  const uninstall = () => helm.run('uninstall', 'chasqui', '--namespace=chasqui-system', '--wait', '--timeout=2m');
  const relayIn = async (namespace: string): Promise<void> => {
    await cluster.kubectl.apply({
      apiVersion: 'chasqui.dev/v1alpha1',
      kind: 'SmtpRelay',
      metadata: { name: 'outbound', namespace },
      spec: {
        hostname: 'relay.example.com',
        listeners: [{ name: 'submission', protocol: 'Submission', port: 587 }],
        queue: { storage: { size: '1Gi' } },
      },
    });
    await cluster.kubectl.run(
      'wait',
      '--for=condition=Ready',
      'smtprelay/outbound',
      `--namespace=${namespace}`,
      '--timeout=2m',
    );
  };

  test('can be deleted, and their namespace with all that is theirs, within a minute', async (t) => {
    const [mail, team] = [await cluster.namespace(), await cluster.namespace()];
    await install(`--set=scope.namespaces={${team.name}},scope.relayNamespaces={${mail.name}}`);
    await relayIn(mail.name);
    await uninstall();
    const began = Date.now();
    await cluster.kubectl.run('delete', 'smtprelay', 'outbound', `--namespace=${mail.name}`, '--timeout=60s');
    await cluster.kubectl.run('delete', 'namespace', mail.name, team.name, '--timeout=60s');
    const seconds = Math.round((Date.now() - began) / 1000);
    t.diagnostic(`${seconds} s`);
    assert.ok(seconds < 60, `it took ${seconds} s`);
  });

  test('go with the CRDs, where those are not kept, and nothing hangs', async () => {
    await using mail = await cluster.namespace();
    await install('--take-ownership', '--set=crds.keep=false');
    await relayIn(mail.name);
    const { uid } = ((await cluster.kubectl.json('get', 'pod', 'outbound-0', `--namespace=${mail.name}`)) as Live)
      .metadata;
    await uninstall();
    await cluster.kubectl.run('wait', '--for=delete', '--timeout=60s', ...KINDS);
    const { metadata } = (await cluster.kubectl.json('get', 'pod', 'outbound-0', `--namespace=${mail.name}`)) as Live;
    assert.equal(metadata.uid, uid, 'pods stay until their namespace goes, or an operator comes');
  });
});

interface Live {
  readonly metadata: { readonly uid: string };
}
