/**
 * docs/upgrade.md, command by command, while clients send mail that never try anything again: from one version to the next,
 * operator first, and back. None of the clients is refused or cut off, each edit reaches relays of either version, and
 * what was taken arrives, once.
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { buildImage } from '../../image/build.ts';
import { Cluster } from '../cluster/cluster.ts';
import { allArrived, destinationPod, destinationService, Load, mailDomain, openRelay } from '../cluster/load.ts';
import { importImage } from '../cluster/node/images.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { Guide } from './guide.ts';
import { CHART } from './helm.ts';
import { IMAGES, Installation } from './installation.ts';

const [A, B] = ['0.1.0', '0.2.0'];
const image = (version: string): string => `docker.io/library/chasqui:${version}`;
const KINDS = ['smtprelays', 'maildomains', 'smtpusers'].map((plural) => `crd/${plural}.chasqui.dev`);
/** What the API server knows of the kinds, by a text that the versions have different. */
const DESCRIPTION = [
  ...['get', 'crd/smtpusers.chasqui.dev'],
  '--output=jsonpath={.spec.versions[0].schema.openAPIV3Schema.description}',
];
const OF_A = /^A sender: /;
const OF_B = /^A later sender: /;
const PODS = ['outbound-0', 'outbound-1', 'bulk-0', 'bulk-1'];
const DEFERRED = 5;
/** Of both clients; that many can not have been taken before the versions change. */
const ENOUGH = 500;

describe('docs/upgrade.md', () => {
  let here: Installation;
  let guide: Guide;
  let load: Load;
  /** A checkout of the later version, as far as its commands need it. */
  let later: string;
  const kubectl = (...words: readonly string[]) => here.kubectl(...words);

  before(async () => {
    later = await mkdtemp(join(tmpdir(), 'later-'));
    await cp(CHART, join(later, 'charts/chasqui'), { recursive: true });
    const file = join(later, 'charts/chasqui/Chart.yaml');
    const text = await readFile(file, 'utf8');
    assert.ok(text.includes(`\nversion: ${A}\nappVersion: ${A}\n`), 'the guide goes from the version of these sources');
    await writeFile(file, text.replaceAll(`ersion: ${A}\n`, `ersion: ${B}\n`));

    const crd = join(later, 'charts/chasqui/files/crds/chasqui.dev_smtpusers.yaml');
    await writeFile(crd, (await readFile(crd, 'utf8')).replace('"A sender: ', '"A later sender: '));

    const { kubectl: cluster } = await Cluster.connect();
    guide = await Guide.open('upgrade.md', cluster.kubeconfig);
    await cluster.run('delete', '--ignore-not-found', '--timeout=2m', ...KINDS);
    // For those to whom the chart brings no CRDs.
    for (const [folder, like] of [
      [undefined, OF_A],
      [later, OF_B],
    ] as const) {
      await guide.run('charts/chasqui/files/crds', folder);
      assert.match(await cluster.run(...DESCRIPTION), like);
    }

    here = await Installation.begin('mail');
    await importImage((await buildImage(IMAGES, B)).archive);
    await here.cluster.kubectl.apply(
      destinationService('mail'),
      destinationPod('mail', image(A)),
      destinationService('mail', 'slow'),
      openRelay('mail', 'outbound', { replicas: 2, routes: { 'slow.test': 'slow' } }),
      openRelay('mail', 'bulk', { replicas: 2 }),
      mailDomain('mail', 'example', 'example.test', ['outbound', 'bulk']),
      mailDomain('mail', 'edited', 'edited.test', ['outbound']),
    );
    await kubectl('wait', '--for=condition=Ready', 'pod/destination', '--timeout=60s');
    await kubectl('wait', '--for=condition=Ready', 'smtprelays,maildomains', '--all', '--timeout=2m');
    const clients = { 'client-a': 'outbound', 'client-b': 'bulk' };
    load = await Load.begin(here.cluster.kubectl, { namespace: 'mail', clients, pauseMs: 50 });
  });
  after(async () => {
    await guide?.[Symbol.asyncDispose]();
    await here?.[Symbol.asyncDispose]();
    await rm(later, { recursive: true, force: true });
  });

  /** What it is of each pod: whether it was replaced or started anew. */
  const pods = (): Promise<string> =>
    kubectl(
      ...['get', 'pods', '--selector=app.kubernetes.io/name=chasqui-relay'],
      '--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[0].restartCount}{"\\n"}{end}',
    );
  const configs = (): Promise<string> =>
    kubectl('get', 'secrets', 'outbound-config', 'bulk-config', '--output=jsonpath={.items[*].data.index\\.json}');

  /** The table that the guide has one look at: each operator, pod and relay with its version. */
  async function versions(expected: { readonly operator: string; readonly outbound: string; readonly bulk: string }) {
    const of = (pod: string): string => (pod.startsWith('bulk') ? expected.bulk : expected.outbound);
    const rows = [
      `chasqui +${image(expected.operator)} +2`,
      ...PODS.map((pod) => `mail +${pod} +true +0 +${image(of(pod))}`),
      ...['outbound', 'bulk'].map((relay) => `mail +${relay} +${of(relay)} +Programmed +True`),
    ].map((row) => new RegExp(`^${row}$`, 'm'));
    for (const end = Date.now() + 60_000; ; await pause(500)) {
      const table = await guide.run('OPERATOR:');
      const missing = rows.filter((row) => !row.test(table));
      if (missing.length === 0) return;
      assert.ok(Date.now() < end, `${missing.join('\n')}\nis not in\n${table}`);
    }
  }

  /** An edit: edited.test is of this relay now and not of the other, as each replica shows on the wire. */
  async function edit(relay: 'outbound' | 'bulk'): Promise<void> {
    const patch = JSON.stringify({ spec: { relayRefs: [{ name: relay }] } });
    await kubectl('patch', 'maildomain', 'edited', '--type=merge', `--patch=${patch}`);
    const generation = await kubectl('get', 'maildomain', 'edited', '--output=jsonpath={.metadata.generation}');
    await here.eventually(
      ['get', 'maildomain', 'edited', '--output=jsonpath={.status.conditions[?(@.type=="Programmed")]}'],
      new RegExp(`"observedGeneration":${generation},.*"status":"True"`),
    );
    await kubectl('wait', '--for=condition=Programmed', 'smtprelays', '--all', '--timeout=60s');
    for (const pod of PODS) {
      const reply = await mailFrom(pod, 'app@edited.test');
      assert.match(reply, pod.startsWith(relay) ? /^250 / : /^550 /, `${pod}: ${reply}`);
    }
  }

  async function mailFrom(pod: string, sender: string): Promise<string> {
    await using forward = await here.cluster.forward('mail', `pod/${pod}`, 10_025);
    await using client = await SmtpClient.connect(forward.port);
    await client.talk(['EHLO client.test', '250']);
    // Awaited here: with the end of this block the connection ends.
    return await client.say(`MAIL FROM:<${sender}>`);
  }

  test('upgrades the operator, and leaves relays as they are', async () => {
    await versions({ operator: A, outbound: A, bulk: A });
    const [former, config] = [await pods(), await configs()];
    assert.match(await kubectl(...DESCRIPTION), OF_A);
    await guide.run(`relayImage=${image(A)}`, later);
    assert.match(await kubectl(...DESCRIPTION), OF_B);
    await versions({ operator: B, outbound: A, bulk: A });
    assert.equal(await configs(), config, 'what relays read is the same, byte for byte');
    await edit('bulk');
    await edit('outbound');
    assert.equal(await pods(), former, 'no pod was replaced or started anew');
  });

  test('upgrades relays, but for one that is to wait, and an edit reaches both versions', async () => {
    const former = await pods();
    await guide.run('patch smtprelay bulk', later);
    await versions({ operator: B, outbound: B, bulk: A });
    assert.deepEqual(
      (await pods())
        .split('\n')
        .filter((line) => former.includes(line))
        .map((line) => line.replace(/ .*/, '')),
      ['bulk-0', 'bulk-1'],
    );
    await edit('bulk');
    await edit('outbound');
  });

  test('upgrades what waited', async () => {
    await guide.run('"image":null', later);
    await versions({ operator: B, outbound: B, bulk: B });
  });

  const slow = Array.from({ length: DEFERRED }, (_, number) => `slow-${number}`);
  test('goes back with the operator, and relays of the later version follow it', async () => {
    for (const [number, subject] of slow.entries()) {
      await using forward = await here.cluster.forward('mail', `pod/outbound-${number % 2}`, 10_025);
      await using client = await SmtpClient.connect(forward.port);
      await client.talk(['EHLO client.test', '250'], ['MAIL FROM:<app@example.test>', '250']);
      await client.talk(['RCPT TO:<ann@slow.test>', '250'], ['DATA', '354']);
      assert.match(await client.content(`From: app@example.test\r\nSubject: ${subject}\r\n\r\nHello\r\n`), /^250 /);
    }
    for (const pod of ['outbound-0', 'outbound-1']) {
      await here.eventually(['logs', pod], /"event":"deferred".*@slow\.test|@slow\.test.*"event":"deferred"/);
    }
    const former = await pods();
    await guide.run(`relayImage=${image(B)}`);
    assert.match(await kubectl(...DESCRIPTION), OF_A);
    await versions({ operator: A, outbound: B, bulk: B });
    await edit('bulk');
    await edit('outbound');
    assert.equal(await pods(), former, 'no pod was replaced or started anew');
  });

  test('goes back with relays, which deliver what the later version has in its queue', async () => {
    await guide.run('statefulset --selector');
    await versions({ operator: A, outbound: A, bulk: A });
    await here.cluster.kubectl.apply(destinationPod('mail', image(A), 'slow'));
    await kubectl('wait', '--for=condition=Ready', 'pod/slow', '--timeout=60s');
    await allArrived(here.cluster.kubectl, 'mail', slow, 'slow');
    assert.deepEqual(guide.left, [], 'there is no command that was not run');
  });

  test('no client was refused or cut off, and each message that was taken has arrived, once', async (t) => {
    const taken = await load.end();
    t.diagnostic(`${taken.length} messages taken`);
    for (const client of ['client-a', 'client-b']) {
      const own = taken.filter((subject) => subject.startsWith(client));
      assert.ok(own.length > ENOUGH / 2, `${client} sent ${own.length} messages`);
    }
    await allArrived(here.cluster.kubectl, 'mail', taken);
  });
});
