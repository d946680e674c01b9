/** Peers of a cluster: found by name, known by a certificate for all names of their service. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { makeCA, makeServerCertificate } from '../../operator/smtprelay/pki.ts';
import { CONFIG } from '../../test/harness/receiving.ts';
import { createTransport, PeerUnreachable } from './transport.ts';

/** A replica that says by which name it was asked, and with which token. */
async function replicas(t: TestContext, names: readonly string[]) {
  const ca = await makeCA('Replicas', Date.now());
  const { certificate: cert, key } = await makeServerCertificate(ca, names, Date.now());
  const server = createServer({ cert, key }, (request, response) => {
    const { servername } = request.socket as TLSSocket & { readonly servername: string };
    response.end(`${servername} ${request.headers.host} ${String(request.headers['x-chasqui-token'])}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address);

  const asked: string[] = [];
  const lookup: LookupFunction = (host, { all }, callback) => {
    asked.push(host);
    if (all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
    else callback(null, '127.0.0.1', 4);
  };
  const folder = mkdtempSync(join(tmpdir(), 'transport-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const tokenFile = join(folder, 'operate');
  writeFileSync(tokenFile, 'first\n');
  const peers = { host: 'out-{ordinal}.out-pods.mail.svc', port: address.port, ca: ca.certificate };
  const transport = createTransport({ config: { current: () => ({ ...CONFIG, peers }) }, tokenFile, lookup });
  t.after(() => transport.close());
  const ask = async (ordinal: number): Promise<string> => {
    const begin = await transport.to(ordinal);
    const asking = begin({ path: '/', headers: {} });
    asking.end();
    const [response] = await once(asking, 'response');
    return text(response);
  };
  return { ask, asked, tokenFile, port: address.port };
}

test('each replica is asked by its name, and the wildcard of their service vouches for all of them', async (t) => {
  const { ask, asked, port } = await replicas(t, ['*.out-pods.mail.svc']);
  for (const ordinal of [0, 1, 12]) {
    const name = `out-${ordinal}.out-pods.mail.svc`;
    assert.equal(await ask(ordinal), `${name} ${name}:${port} first`);
  }
  assert.deepEqual(
    asked,
    [0, 1, 12].map((ordinal) => `out-${ordinal}.out-pods.mail.svc`),
  );
  await ask(0);
  assert.equal(asked.length, 3, 'a connection that is open is used again');
});

test('a certificate for other names of the same CA is not taken', async (t) => {
  const { ask } = await replicas(t, ['*.other-pods.mail.svc', 'out-1.out-pods.mail.svc']);
  await assert.rejects(ask(0), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  assert.match(await ask(1), /^out-1\./);
});

test('a token that is changed is shown from the next request on, and one that is gone is told', async (t) => {
  const { ask, tokenFile } = await replicas(t, ['*.out-pods.mail.svc']);
  assert.match(await ask(0), / first$/);
  writeFileSync(tokenFile, 'second');
  assert.match(await ask(0), / second$/);
  rmSync(tokenFile);
  await assert.rejects(
    ask(0),
    (error) => error instanceof PeerUnreachable && /token for peers.*ENOENT/.test(error.message),
  );
});
