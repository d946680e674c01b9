/** DNSEndpoints on a real API server. External-dns is played: it writes which generation it has read. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiServer, needsOwnApiServer } from '../../../test/cluster/api-server.ts';
import type { Publication } from '../../backend.ts';
import { Client } from './client.ts';
import { type Connection, connect } from './connection.ts';
import { Endpoints } from './publications.ts';

/** As external-dns ships it, without its validation. */
const CRD = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {
    name: 'dnsendpoints.externaldns.k8s.io',
    annotations: { 'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/external-dns/pull/2007' },
  },
  spec: {
    group: 'externaldns.k8s.io',
    scope: 'Namespaced',
    names: { kind: 'DNSEndpoint', listKind: 'DNSEndpointList', plural: 'dnsendpoints', singular: 'dnsendpoint' },
    versions: [
      {
        name: 'v1alpha1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

const KEY = { namespace: 'default', name: 'example' };
const publication = (more: Partial<Publication> = {}): Publication => ({
  ...KEY,
  owner: { kind: 'MailDomain', name: 'example', uid: 'uid-of-example' },
  records: [
    { type: 'TXT', name: 'k1._domainkey.example.test', value: `v=DKIM1; k=rsa; p=${'A'.repeat(300)}` },
    { type: 'TXT', name: '_dmarc.example.test', value: 'v=DMARC1; p=none' },
  ],
  ttlSeconds: 300,
  outlives: true,
  ...more,
});

describe('records that external-dns is to publish', { ...needsOwnApiServer, timeout: 120_000 }, () => {
  let api: ApiServer;
  let connection: Connection;
  before(async () => {
    api = await ApiServer.start({ audit: true });
    connection = await connect(api.kubeconfig);
  });
  after(async () => {
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
  });

  const specOf = async (name: string): Promise<unknown> =>
    JSON.parse(await api.kubectl.run('get', 'dnsendpoint', name, '-o', 'jsonpath={.spec}'));

  function endpoints(t: TestContext, userAgent: string) {
    const client = new Client({ connection, userAgent, writeTimeoutMs: 10_000, mayWrite: () => undefined });
    let nowMs = 0;
    const found = new Endpoints({ api: client, namespaces: undefined, nowMs: () => nowMs, failed: () => {} });
    const told: string[] = [];
    found.watch(({ namespace, name }) => told.push(`${namespace}/${name}`));
    t.after(() => found.stop());
    return { endpoints: found, told, later: () => (nowMs += 3_600_000) };
  }

  it('are nobody’s business until the cluster has the kind, and then they are made', async (t) => {
    const { endpoints: ours, told, later } = endpoints(t, 'first');
    assert.equal(await ours.state(KEY), 'Unavailable');
    await ours.apply(publication());
    await api.kubectl.apply(CRD);
    await api.kubectl.run('wait', '--for=condition=Established', 'crd/dnsendpoints.externaldns.k8s.io');
    later();
    await until('it is known that there is none', async () => (await ours.state(KEY)) === 'None');
    assert.deepEqual(told, ['default/example'], 'who asked before is told');

    await ours.apply(publication());
    assert.equal(await ours.state(KEY), 'Waiting');
    assert.deepEqual(await specOf('example'), {
      endpoints: [
        {
          dnsName: 'k1._domainkey.example.test',
          recordType: 'TXT',
          recordTTL: 300,
          targets: [`"v=DKIM1; k=rsa; p=${'A'.repeat(237)}" "${'A'.repeat(63)}"`],
        },
        { dnsName: '_dmarc.example.test', recordType: 'TXT', recordTTL: 300, targets: ['"v=DMARC1; p=none"'] },
      ],
    });
  });

  it('are Read once external-dns says so, of what they are now', async (t) => {
    const { endpoints: ours } = endpoints(t, 'second');
    await until('it is read', async () => (await ours.state(KEY)) === 'Waiting');
    const status = (generation: number) =>
      api.kubectl.run(
        ...['patch', 'dnsendpoint', 'example', '--subresource=status', '--type=merge'],
        ...['-p', JSON.stringify({ status: { observedGeneration: generation } })],
      );
    await status(1);
    await until('it is Read', async () => (await ours.state(KEY)) === 'Read');
    await ours.apply(publication());
    assert.equal(await ours.state(KEY), 'Read', 'the same again changes nothing');
    await ours.apply(publication({ ttlSeconds: 60 }));
    assert.equal(await ours.state(KEY), 'Waiting');
    await ours.apply(publication());
  });

  it('are written by nobody who finds them as they should be', async (t) => {
    const { endpoints: ours } = endpoints(t, 'third');
    await until('they are read', async () => (await ours.state(KEY)) !== 'Unread');
    await ours.apply(publication());
    const writes = (await api.audit()).filter(
      ({ verb, userAgent }) => userAgent?.startsWith('third') && !['get', 'list', 'watch'].includes(verb),
    );
    assert.deepEqual(writes, []);
  });

  it('are put right when another changes them, and go when they are wanted no more', async (t) => {
    const { endpoints: ours, told } = endpoints(t, 'fourth');
    await until('they are read', async () => (await ours.state(KEY)) !== 'Unread');
    told.length = 0;
    await api.kubectl.run('patch', 'dnsendpoint', 'example', '--type=merge', '-p', '{"spec":{"endpoints":[]}}');
    await until('that is told', () => told.length > 0);
    await ours.apply(publication());
    assert.match(await api.kubectl.run('get', 'dnsendpoint', 'example', '-o', 'yaml'), /_dmarc\.example\.test/);
    await ours.delete(KEY);
    assert.equal((await api.kubectl.attempt(['get', 'dnsendpoint', 'example'])).code, 1);
  });

  it('leave what another made under their name', async (t) => {
    const other = { ...KEY, name: 'other' };
    const spec = { endpoints: [] };
    await api.kubectl.apply({
      ...{ apiVersion: 'externaldns.k8s.io/v1alpha1', kind: 'DNSEndpoint', metadata: other, spec },
    });
    const { endpoints: ours } = endpoints(t, 'fifth');
    await until('they are read', async () => (await ours.state(other)) === 'None');
    await ours.apply(publication({ name: 'other' }));
    assert.equal(await ours.state(other), 'NameTaken');
    assert.deepEqual(await specOf('other'), spec);
  });

  it('belong to their MailDomain only where they go with it', async (t) => {
    const { endpoints: ours } = endpoints(t, 'sixth');
    await until('they are read', async () => (await ours.state(KEY)) !== 'Unread');
    const owners = async (): Promise<string> =>
      api.kubectl.run('get', 'dnsendpoint', 'example', '-o', 'jsonpath={.metadata.ownerReferences[*].kind}');
    await ours.apply(publication({ outlives: false }));
    assert.equal(await owners(), 'MailDomain');
    await ours.apply(publication());
    assert.equal(await owners(), '');
  });
});

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); await sleep(20)) {
    assert.ok(Date.now() < deadline, `never came: ${what}`);
  }
}
