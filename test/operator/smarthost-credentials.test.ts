/** A smarthost that takes mail only of who authenticates, with credentials that lie in files. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('mail waits for the credentials of its smarthost, and goes with those that lie there, the newest ones', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const login = { username: 'outbound', password: 'correct horse', mechanisms: 'PLAIN LOGIN' };
  await using smarthost = await Destination.start({ certificate: SELF_SIGNED, login });
  const manifest = relay({ port, submission, monitoring, destination: smarthost.port }).replace(
    'tls: {mode: Disabled}',
    'credentialsSecretRef: {name: provider}, tls: {mode: Required}',
  );
  await using standalone = await Standalone.start({ 'relay.yaml': manifest, 'domain.yaml': domain() });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  const deferredBy = (reason: RegExp) =>
    standalone.until(`it waits: ${reason}`, () =>
      standalone.lines.some((line) => line.event === 'deferred' && reason.test(JSON.stringify(line))),
    );

  await send(port, 'first');
  await deferredBy(/cannot authenticate to 127\.0\.0\.1: ENOENT.*secrets\/default\/provider\/username/);
  assert.deepEqual(smarthost.messages, []);

  const folder = join(standalone.state, 'secrets/default/provider');
  const put = (password: string): void => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'username'), `${login.username}\n`, { mode: 0o600 });
    writeFileSync(join(folder, 'password'), `${password}\n`, { mode: 0o600 });
  };
  put('guessed');
  await deferredBy(/cannot authenticate to 127\.0\.0\.1: 535 5\.7\.8 Credentials invalid/);
  assert.deepEqual(smarthost.messages, []);

  put(login.password);
  const [message] = await smarthost.received(1, 60_000);
  assert.equal(message?.tls, true);
  assert.match(message?.data.toString() ?? '', /^Subject: first\r$/m);
  assert.deepEqual(standalone.replicaPids(), pids, 'by the process that ran all the time');
  const told = JSON.stringify(standalone.lines);
  for (const secret of [login.password, 'guessed', Buffer.from(login.password).toString('base64').slice(0, 16)]) {
    assert.equal(told.includes(secret), false, 'no password is logged');
  }
});
