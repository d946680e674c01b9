/** A relay whose certificate cert-manager makes: its own controllers run here, against a real API server. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Client } from '../../operator/backends/kubernetes/client.ts';
import { type Connection, connect } from '../../operator/backends/kubernetes/connection.ts';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import { Daemon } from '../cluster/daemon.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { PlayedNode } from '../cluster/played-node.ts';
import { program } from '../cluster/programs.ts';

const MODULE = join(import.meta.dirname, '../cluster/binaries/cert-manager');
const run = promisify(execFile);

/** The CRDs lie in the module that the program was built from. */
async function certManagerCrds(): Promise<string> {
  const download = ['mod', 'download', '-json', 'github.com/cert-manager/cert-manager'];
  const { stdout } = await run('go', download, { cwd: MODULE });
  const { Dir: folder } = JSON.parse(stdout) as { readonly Dir: string };
  return join(folder, 'deploy/crds');
}

describe('a relay with an issuerRef', needsOwnApiServer, () => {
  let api: ApiServer;
  let connection: Connection;
  let node: PlayedNode;
  let operator: OperatorProcess;
  let certManager: Daemon;
  let folder: string;
  const kubectl = (...words: string[]) => api.kubectl.run(...words, '--namespace=mail');
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cert-manager-'));
    api = await ApiServer.start({ controllers: true });
    await api.applyCrds();
    await api.kubectl.run('apply', '--server-side', `--filename=${await certManagerCrds()}`);
    connection = await connect(api.kubeconfig);
    const client = new Client({ connection, userAgent: 'node', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    await api.kubectl.run('create', 'namespace', 'mail');
    node = await PlayedNode.start(api, client, 1);
    operator = await OperatorProcess.start(api.kubeconfig);
    certManager = await Daemon.start(
      await program('cert-manager'),
      ['--kubeconfig', api.kubeconfig],
      join(folder, 'cert-manager.log'),
    );
  });
  after(async () => {
    await certManager?.[Symbol.asyncDispose]();
    await operator?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Serial number of what relays are told to serve for the hostname. */
  const told = async (): Promise<string | undefined> => {
    const text = await kubectl('get', 'secret', 'outbound-config', '--output=jsonpath={.data.certificates\\.json}');
    const { named } = JSON.parse(Buffer.from(text, 'base64').toString()) as { named?: readonly { chain: string }[] };
    return named?.[0] && new X509Certificate(named[0].chain).serialNumber;
  };

  it('has the certificate that the issuer made, and the next one when it is renewed', async () => {
    await api.kubectl.apply({
      apiVersion: 'chasqui.dev/v1alpha1',
      kind: 'SmtpRelay',
      metadata: { name: 'outbound', namespace: 'mail' },
      spec: {
        hostname: 'relay.example.test',
        listeners: [{ name: 'submission', protocol: 'Submission', port: 2587 }],
        tls: { certificate: { issuerRef: { name: 'selfsigned' } } },
      },
    });
    await kubectl('wait', '--for=condition=Programmed', 'smtprelay/outbound', '--timeout=60s');
    const message = await kubectl(
      'get',
      'smtprelay',
      'outbound',
      '--output=jsonpath={.status.conditions[?(@.type=="CertificateReady")].message}',
    );
    assert.match(
      message,
      /cert-manager has not made Secret outbound-issued yet.*Certificate outbound/,
      'there is no such issuer yet',
    );
    assert.equal(await told(), undefined);

    await api.kubectl.apply({
      apiVersion: 'cert-manager.io/v1',
      kind: 'Issuer',
      metadata: { name: 'selfsigned', namespace: 'mail' },
      spec: { selfSigned: {} },
    });
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
    const first = await told();
    assert.ok(first !== undefined);

    // cert-manager makes another one, as it does when a certificate is about to expire.
    await kubectl('delete', 'secret', 'outbound-issued');
    await operator.until('the next one is told', async () => {
      const now = await told();
      return now !== undefined && now !== first;
    });
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', '--timeout=60s');
  });

  it('leaves no Certificate behind when another source is named', async () => {
    const source = '{"ownCA":{},"issuerRef":null}';
    await kubectl(
      'patch',
      'smtprelay',
      'outbound',
      '--type=merge',
      `--patch={"spec":{"tls":{"certificate":${source}}}}`,
    );
    await kubectl('wait', '--for=delete', 'certificate/outbound', '--timeout=60s');
    await operator.until('it is told no more', async () => (await told()) === undefined);
  });
});
