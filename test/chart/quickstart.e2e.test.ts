/**
 * docs/quickstart-kubernetes.md, command by command, and what it promises an application: with nothing but its Secret it
 * reaches the relay over verified TLS, and what it sends is found by MX and verified by the key that DNS has. Also when
 * containers of the relay are killed.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { buildImage } from '../../image/build.ts';
import { Cluster } from '../cluster/cluster.ts';
import { importImage, importProbe } from '../cluster/node/images.ts';
import { runInside } from '../cluster/node/inside.ts';
import { CONTAINERD, livingNode } from '../cluster/node/layout.ts';
import { application, names, type TextRecord } from './application.ts';
import { Guide } from './guide.ts';
import { CHART, Helm } from './helm.ts';

const ROOT = join(import.meta.dirname, '../..');
const KINDS = ['smtprelays', 'maildomains', 'smtpusers'].map((plural) => `crd/${plural}.chasqui.dev`);
const KILLS = 4;

describe('docs/quickstart-kubernetes.md', () => {
  let cluster: Cluster;
  let guide: Guide;
  const run = (command: string): Promise<string> => guide.run(command);
  const kubectl = (...words: readonly string[]) => cluster.kubectl.run('--namespace=mail', ...words);
  const eventually = (words: readonly string[], like: RegExp) =>
    cluster.kubectl.eventually(['--namespace=mail', ...words], like);
  const received = () => kubectl('logs', 'deployment/receiver', '--tail=-1');

  before(async () => {
    cluster = await Cluster.connect();
    guide = await Guide.open('quickstart-kubernetes.md', cluster.kubectl.kubeconfig);
    await cluster.kubectl.run('delete', '--ignore-not-found', ...KINDS, 'namespace/mail', 'namespace/chasqui-system');
    const { archive } = await buildImage(join(ROOT, '.cache/image'));
    await importImage(archive);
    await importProbe();
  });
  after(async () => {
    const left = ['namespace/mail', 'namespace/chasqui-system'];
    await cluster?.kubectl.attempt(['delete', '--ignore-not-found', '--wait=false', ...left]);
    await guide?.[Symbol.asyncDispose]();
  });

  test('leads from an empty cluster to a message that arrives, signed by both keys', async () => {
    assert.match(await run('helm install'), /STATUS: deployed/);
    assert.match(await run('examples/kubernetes/receiver.yaml'), /successfully rolled out/);
    const objects = await run('examples/kubernetes/mail.yaml');
    assert.match(
      objects,
      /smtprelay\.chasqui\.dev\/outbound +True +2 .*\n[\s\S]*maildomain\S+ +True [\s\S]*smtpuser\S+ +True /,
    );
    const sent = await run('examples/kubernetes/message.yaml');
    const [, letter] = /Mail from (<app@example\.com> to <someone@example\.org>)/.exec(sent) ?? [];
    assert.ok(letter, sent);
    assert.match(sent, /2\.6\.0 queued as [0-9A-Z]+/);
    assert.match(sent, /DKIM chasqui-r1\._domainkey\.example\.com rsa-sha256: neutral \(no key\)/);
    assert.match(sent, /DKIM chasqui-e1\._domainkey\.example\.com ed25519-sha256: neutral \(no key\)/);
  });

  test('leads on to the world: an application sends by its Secret, and a receiver verifies by DNS', async () => {
    const { service, server } = names();
    await cluster.kubectl.apply(service);
    const resolver = await kubectl('get', 'service', 'names', '--output=jsonpath={.spec.clusterIP}');
    const receiver = await kubectl('get', 'service', 'receiver', '--output=jsonpath={.spec.clusterIP}');
    // That is what the world is here: name servers, and a port that needs no rights.
    const direct = { direct: { resolvers: [resolver], port: 2525 } };
    await kubectl(
      'patch',
      'smtprelay',
      'outbound',
      '--type=merge',
      `--patch=${JSON.stringify({ spec: { delivery: direct } })}`,
    );
    await helmUpgrade(`operator.dnsResolvers={${resolver}}`);
    const printed = await run('status.dnsRecords');
    const records = printed.split('\n').flatMap((line): TextRecord[] => {
      const [, name, value] = /^TXT (\S+) (.*)$/.exec(line) ?? [];
      return name !== undefined && value !== undefined ? [{ name, value }] : [];
    });
    assert.deepEqual(records.map(({ name }) => name).sort(), [
      '_dmarc.example.com',
      'chasqui-e1._domainkey.example.com',
      'chasqui-r1._domainkey.example.com',
    ]);
    await cluster.kubectl.apply(...server(records, receiver));
    await kubectl('wait', '--for=condition=Ready', 'pod/names', '--timeout=60s');
    await kubectl('wait', '--for=condition=DnsVerified', 'maildomain/example', '--timeout=2m');
    await kubectl('wait', '--for=condition=Ready', 'maildomain/example', 'smtprelay/outbound', '--timeout=2m');
    const resolving = { dnsPolicy: 'None', dnsConfig: { nameservers: [resolver] } };
    await kubectl(
      ...['patch', 'deployment', 'receiver', '--type=merge'],
      `--patch=${JSON.stringify({ spec: { template: { spec: resolving } } })}`,
    );
    await kubectl('rollout', 'status', 'deployment/receiver', '--timeout=60s');

    await cluster.kubectl.apply(application('app-once', { messages: 1 }));
    await eventually(['logs', 'app-once'], /^ended$/m);
    assert.match(await kubectl('logs', 'app-once'), /^taken app-once-0$/m);
    await eventually(['logs', 'deployment/receiver'], /Subject: app-once-0/);
    const signatures = [...(await received()).matchAll(/^ {2}DKIM (\S+) (\S+): (.*)$/gm)].map(([, ...words]) => words);
    assert.deepEqual(signatures, [
      ['chasqui-r1._domainkey.example.com', 'rsa-sha256', 'pass'],
      ['chasqui-e1._domainkey.example.com', 'ed25519-sha256', 'pass'],
    ]);
  });

  async function helmUpgrade(value: string): Promise<void> {
    await using helm = await Helm.prepare(cluster.kubectl.kubeconfig);
    await helm.run(
      'upgrade',
      'chasqui',
      CHART,
      '--namespace=chasqui-system',
      '--reuse-values',
      `--set=${value}`,
      '--wait',
    );
  }

  test('keeps what a relay took when its containers are killed', async (t) => {
    const node = await livingNode();
    if (!node && !process.env.CI) return t.skip('containers are killed on a node of make cluster');
    assert.ok(node, 'make e2e starts the node');
    const apps = ['app-a', 'app-b'];
    await cluster.kubectl.apply(...apps.map((name) => application(name, {})));
    for (const name of apps) await eventually(['logs', name], /^taken/m);
    const restarts = (pod: string) =>
      kubectl('get', 'pod', pod, '--output=jsonpath={.status.containerStatuses[0].restartCount}');
    for (let kill = 0; kill < KILLS; kill += 1) {
      const pod = `outbound-${kill % 2}`;
      const before = Number(await restarts(pod));
      const id = await kubectl('get', 'pod', pod, '--output=jsonpath={.status.containerStatuses[0].containerID}');
      const task = id.replace('containerd://', '');
      await runInside(node.pid, [
        ...['ctr', `--address=${CONTAINERD}`, '--namespace=k8s.io', 'tasks', 'kill', '--signal=SIGKILL', task],
      ]);
      const count = ['get', 'pod', pod, '--output=jsonpath={.status.containerStatuses[0].restartCount}'];
      await eventually(count, new RegExp(`^${before + 1}$`));
      await kubectl('wait', '--for=condition=Ready', `pod/${pod}`, '--timeout=2m');
      // Some mail comes in between two kills.
      await pause(300);
    }
    const taken: string[] = [];
    for (const name of apps) {
      await kubectl('exec', name, '--', '/usr/bin/node', '-e', 'process.kill(1, "SIGTERM")');
      await eventually(['logs', name], /^ended$/m);
      const log = await kubectl('logs', name, '--tail=-1');
      taken.push(...[...log.matchAll(/^taken (.*)$/gm)].map(([, subject = '']) => subject));
      t.diagnostic(`${name}: ${log.match(/^failed/gm)?.length ?? 0} sessions were cut or found nobody`);
    }
    const subjects = async () =>
      [...(await received()).matchAll(/^ {2}Subject: (app-[ab]-\d+)$/gm)].map(([, subject]) => subject);
    const missing = async () => {
      const arrived = new Set(await subjects());
      return taken.filter((subject) => !arrived.has(subject));
    };
    for (const end = Date.now() + 120_000; (await missing()).length > 0; await pause(500)) {
      assert.ok(Date.now() < end, `lost: ${(await missing()).join(', ')}`);
    }
    const arrived = await subjects();
    const twice = arrived.length - new Set(arrived).size;
    t.diagnostic(`${taken.length} messages taken, ${KILLS} kills, ${twice} arrived twice`);
    // Past its final dot with the outcome not committed, at the moment of a kill: no more than clients send side by side.
    assert.ok(twice <= KILLS * apps.length, `${twice} arrived twice`);
  });

  test('cleans up, within what it says, and has no command that was not run', async () => {
    await run('helm uninstall');
    const gone = await cluster.kubectl.run('get', '--ignore-not-found', '--output=name', 'ns/mail', ...KINDS);
    assert.equal(gone, '');
    assert.deepEqual(guide.left, []);
  });
});
