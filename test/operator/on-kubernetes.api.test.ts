/** `chasqui operator` on a real API server: manifests become Secrets, status and events, and a restart writes nothing. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../../operator/backends/kubernetes/connection.ts';
import { makeCA, makeServerCertificate } from '../../operator/smtprelay/pki.ts';
import packageManifest from '../../package.json' with { type: 'json' };
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { PlayedNode } from '../cluster/played-node.ts';

const manifest = (kind: string, name: string, spec: object) => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'mail' },
  spec,
});
const RELAY = manifest('SmtpRelay', 'outbound', {
  hostname: 'relay.example.test',
  listeners: [{ name: 'submission', protocol: 'Submission', port: 2587 }],
  egress: { addresses: ['192.0.2.10'] },
});
const DOMAIN = manifest('MailDomain', 'example-test', {
  domain: 'example.test',
  relayRefs: [{ name: 'outbound' }],
  dns: { verification: 'Disabled' },
});
const USER = manifest('SmtpUser', 'app', { relayRef: { name: 'outbound' }, senders: ['*@example.test'] });

interface Listed {
  readonly items: readonly {
    readonly kind: string;
    readonly metadata: {
      readonly name: string;
      readonly resourceVersion: string;
      readonly labels?: Readonly<Record<string, string>>;
    };
    readonly data?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  }[];
}

describe('the operator on an API server', needsOwnApiServer, () => {
  let api: ApiServer;
  let connection: Connection;
  let node: PlayedNode;
  let operator: OperatorProcess;
  const kubectl = (...words: string[]) => api.kubectl.run(...words, '--namespace=mail');
  const list = async (what: string) => (await api.kubectl.json('get', what, '--namespace=mail')) as Listed;
  before(async () => {
    api = await ApiServer.start({ audit: true, controllers: true });
    await api.applyCrds();
    connection = await connect(api.kubeconfig);
    const client = new Client({ connection, userAgent: 'node', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    await api.kubectl.run('create', 'namespace', 'mail');
    node = await PlayedNode.start(api, client, 6);
    operator = await OperatorProcess.start(api.kubeconfig);
  });
  after(async () => {
    await operator?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
  });

  it('makes of three manifests a relay that is ready, with keys, certificate and credential', async () => {
    await operator.untilReady();
    await api.kubectl.apply(RELAY, DOMAIN, USER);
    for (const object of ['smtprelay/outbound', 'maildomain/example-test', 'smtpuser/app']) {
      await kubectl('wait', '--for=condition=Ready', object, '--timeout=90s');
    }
    const { items } = await list('secrets');
    const made = items.map(({ metadata: { name, labels } }) => `${name} ${labels?.['chasqui.dev/purpose']}`);
    for (const secret of [
      'app-smtp credential',
      'example-test-dkim-chasqui-e1 dkim',
      'example-test-dkim-chasqui-r1 dkim',
      'outbound-ca ca',
      'outbound-tls certificate',
    ]) {
      assert.ok(made.includes(secret), `${secret}: ${made.join()}`);
    }
    const credential = items.find(({ metadata }) => metadata.name === 'app-smtp')?.data ?? {};
    const value = (key: string) => Buffer.from(credential[key] ?? '', 'base64').toString();
    assert.deepEqual([value('host'), value('port'), value('username')], ['outbound.mail.svc', '2587', 'app.mail']);
    assert.match(value('ca.crt'), /BEGIN CERTIFICATE/);
  });

  it('tells in events what happened, once', async () => {
    const told = async () => {
      const { items } = (await api.kubectl.json('get', 'events.events.k8s.io', '--namespace=mail')) as {
        items: readonly { reason: string; regarding: { kind: string; name: string }; reportingController: string }[];
      };
      return items
        .filter(({ reportingController }) => reportingController === 'chasqui.dev/operator')
        .map(({ reason, regarding }) => `${reason} ${regarding.kind}/${regarding.name}`);
    };
    await operator.until('the user is told to be ready', async () => (await told()).includes('Ready SmtpUser/app'));
    const events = await told();
    assert.equal(events.filter((event) => event === 'DkimKeyCreated MailDomain/example-test').length, 2);
    for (const object of ['SmtpRelay/outbound', 'MailDomain/example-test', 'SmtpUser/app']) {
      assert.equal(events.filter((event) => event === `Ready ${object}`).length, 1, events.join());
    }
    assert.match(await kubectl('describe', 'maildomain', 'example-test'), /DkimKeyCreated/);
  });

  it('measures itself and what it runs', async () => {
    const { host } = connection.server;
    for (const [name, least] of [
      ['chasqui_smtprelay_ready{namespace="mail",name="outbound"}', 1],
      ['chasqui_maildomain_ready{namespace="mail",name="example-test"}', 1],
      ['chasqui_certificate_expiration_timestamp_seconds{namespace="mail",name="outbound"}', Date.now() / 1_000],
      ['controller_runtime_reconcile_total{controller="smtpuser",result="success"}', 1],
      ['leader_election_master_status{name="chasqui-operator"}', 1],
      [`rest_client_requests_total{code="201",host="${host}",method="POST"}`, 5],
      [`rest_client_request_duration_seconds_count{host="${host}",verb="POST"}`, 5],
      [`chasqui_build_info{version="${packageManifest.version}",node="${process.versions.node}"}`, 1],
      ['process_resident_memory_bytes', 20_000_000],
    ] as const) {
      const value = await operator.metric(name);
      assert.ok(value !== undefined && value >= least, `${name} is ${value}`);
    }
    const age =
      'chasqui_dkim_key_age_seconds{namespace="mail",name="example-test",selector="chasqui-r1",algorithm="RSA2048"}';
    assert.ok(((await operator.metric(age)) ?? Number.NaN) < 600);
    assert.equal(await operator.metric('workqueue_depth{name="smtprelay"}'), 0);
  });

  it('makes again what is deleted by hand, and repairs what is changed', async () => {
    const password = async () => (await list('secrets')).items.find(({ metadata }) => metadata.name === 'app-smtp');
    const before = (await password())?.data?.password;
    await kubectl('delete', 'secret', 'app-smtp');
    await operator.until('there is another', async () => {
      const after = (await password())?.data?.password;
      return after !== undefined && after !== before;
    });
    await kubectl('patch', 'secret', 'app-smtp', '--type=merge', `--patch={"data":{"host":"bm93aGVyZQ=="}}`);
    await operator.until('the host is right again', async () => (await password())?.data?.host !== 'bm93aGVyZQ==');
    await kubectl('wait', '--for=condition=Ready', 'smtpuser/app', '--timeout=60s');
  });

  it('lets namespaces use a relay by their labels, as long as they have them', async () => {
    const accepted = async (status: string, reason: string) => {
      const condition = `{.status.conditions[?(@.type=="Accepted")].reason}`;
      await api.kubectl.run(
        'wait',
        'maildomain/shop',
        '--namespace=shop',
        `--for=condition=Accepted=${status}`,
        '--timeout=60s',
      );
      assert.equal(
        await api.kubectl.run('get', 'maildomain/shop', '--namespace=shop', `--output=jsonpath=${condition}`),
        reason,
      );
    };
    await api.kubectl.run('create', 'namespace', 'shop');
    const shop = manifest('MailDomain', 'shop', {
      domain: 'shop.test',
      relayRefs: [{ namespace: 'mail', name: 'outbound' }],
      dns: { verification: 'Disabled' },
    });
    await api.kubectl.apply({ ...shop, metadata: { name: 'shop', namespace: 'shop' } });
    await accepted('False', 'RelayNotAllowed');
    const selector = '{"from":"Selector","selector":{"matchLabels":{"mail":"yes"}}}';
    await kubectl(
      'patch',
      'smtprelay',
      'outbound',
      '--type=merge',
      `--patch={"spec":{"allowedNamespaces":${selector}}}`,
    );
    await accepted('False', 'RelayNotAllowed');
    await api.kubectl.run('label', 'namespace', 'shop', 'mail=yes');
    await accepted('True', 'Accepted');
    await api.kubectl.run('label', 'namespace', 'shop', 'mail-');
    await accepted('False', 'RelayNotAllowed');
    await api.kubectl.run('delete', 'maildomain/shop', '--namespace=shop');
    await kubectl(
      'patch',
      'smtprelay',
      'outbound',
      '--type=merge',
      '--patch={"spec":{"allowedNamespaces":{"from":"Same","selector":null}}}',
    );
  });

  it('serves a certificate of the owner of the relay, once the Secret says that it may be read', async () => {
    const { certificate, key } = await makeServerCertificate(
      await makeCA('A public CA of a test', Date.now()),
      ['relay.example.test'],
      Date.now(),
    );
    const wait = (status: string) =>
      kubectl('wait', `--for=condition=CertificateReady=${status}`, 'smtprelay/outbound', '--timeout=60s');
    const encoded = (text: string) => Buffer.from(text).toString('base64');
    const secret = (labels: object) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/tls',
      metadata: { name: 'mine', namespace: 'mail', labels },
      data: { 'tls.crt': encoded(certificate), 'tls.key': encoded(key) },
    });
    await api.kubectl.apply(secret({}));
    const source = '{"ownCA":null,"secretRef":{"name":"mine"}}';
    await kubectl(
      'patch',
      'smtprelay',
      'outbound',
      '--type=merge',
      `--patch={"spec":{"tls":{"certificate":${source}}}}`,
    );
    await wait('False');
    const message = '--output=jsonpath={.status.conditions[?(@.type=="CertificateReady")].message}';
    assert.match(
      await kubectl('get', 'smtprelay', 'outbound', message),
      /no Secret mine with label chasqui.dev\/reference: "true"/,
    );
    await api.kubectl.apply(secret({ 'chasqui.dev/reference': 'true' }));
    await wait('True');
    const { items } = await list('secrets');
    const config = items.find(({ metadata }) => metadata.name === 'outbound-config')?.data?.['certificates.json'] ?? '';
    const { named } = JSON.parse(Buffer.from(config, 'base64').toString()) as { named: readonly { chain: string }[] };
    assert.equal(named[0]?.chain, certificate);
    const back = '{"ownCA":{},"secretRef":null}';
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', `--patch={"spec":{"tls":{"certificate":${back}}}}`);
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
  });

  it('leaves a relay that is paused as it is', async () => {
    await kubectl('annotate', 'smtprelay', 'outbound', 'chasqui.dev/paused=true');
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '--patch={"spec":{"replicas":2}}');
    // Something else that changes is reconciled after; by then the relay would have been.
    await kubectl('delete', 'secret', 'app-smtp');
    await operator.until('the Secret is back', async () => {
      return (await list('secrets')).items.some(({ metadata }) => metadata.name === 'app-smtp');
    });
    const replicas = '--output=jsonpath={.spec.replicas}';
    assert.equal(await kubectl('get', 'statefulset', 'outbound', replicas), '1');
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '--patch={"spec":{"replicas":1}}');
    await kubectl('annotate', 'smtprelay', 'outbound', 'chasqui.dev/paused-');
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
  });

  it('writes nothing but its lease when it is started again', async () => {
    await kubectl('wait', '--for=condition=Ready', 'smtpuser/app', '--timeout=60s');
    await untilStill(api, operator.userAgent);
    await operator.stop();
    operator = await OperatorProcess.start(api.kubeconfig);
    await operator.untilSays('this process leads');
    await operator.until('each object was reconciled', async () => {
      const names = ['smtprelay', 'maildomain', 'smtpuser'];
      const counts = await Promise.all(
        names.flatMap((name) =>
          ['success', 'requeue_after'].map((result) =>
            operator.metric(`controller_runtime_reconcile_total{controller="${name}",result="${result}"}`),
          ),
        ),
      );
      return [0, 2, 4].every((index) => (counts[index] ?? 0) + (counts[index + 1] ?? 0) > 0);
    });
    await untilStill(api, operator.userAgent);
    assert.deepEqual(await writesOf(api, operator.userAgent), []);
  });

  it('lets a namespace go that is deleted with all that is in it', async () => {
    await api.kubectl.run('delete', 'namespace', 'mail', '--timeout=90s');
    assert.ok(operator.runs && (await operator.healthy()));
    await operator.until(
      'nothing waits',
      async () => (await operator.metric('workqueue_depth{name="smtprelay"}')) === 0,
    );
    assert.equal(await operator.metric('chasqui_smtprelay_ready{namespace="mail",name="outbound"}'), undefined);
    await operator.stop();
  });
});

/** What a process wrote, but for its lease: verb and object. */
async function writesOf(api: ApiServer, userAgent: string): Promise<string[]> {
  return (await api.audit())
    .filter((event) => event.userAgent === userAgent && ['create', 'update', 'patch', 'delete'].includes(event.verb))
    .filter(({ objectRef }) => objectRef?.resource !== 'leases')
    .map(({ verb, objectRef, responseStatus }) => {
      const { resource, name, subresource } = objectRef ?? {};
      return `${verb} ${resource}/${name}${subresource ? `/${subresource}` : ''} ${responseStatus?.code}`;
    });
}

/** Waits until a process has written its lease three times and nothing else meanwhile. */
async function untilStill(api: ApiServer, userAgent: string): Promise<void> {
  const look = async () => {
    const events = (await api.audit()).filter((event) => event.userAgent === userAgent);
    return {
      leases: events.filter(({ objectRef }) => objectRef?.resource === 'leases').length,
      others: events.filter(({ objectRef }) => objectRef?.resource !== 'leases').length,
    };
  };
  let before = await look();
  for (const endMs = performance.now() + 120_000; ; await new Promise((done) => setTimeout(done, 200))) {
    const now = await look();
    if (now.others !== before.others) before = now;
    if (now.leases >= before.leases + 3) return;
    assert.ok(performance.now() < endMs, 'it never comes to rest');
  }
}
