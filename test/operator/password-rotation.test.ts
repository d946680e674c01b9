/** A password that is rotated: clients that still have the one before go on, for as long as they are given. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { DOMAIN, domain, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('both passwords work after a rotation, until the overlap is over', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const stored = () => readFileSync(join(standalone.state, 'secrets/default/app-smtp/password'), 'utf8');
  const login = async (password: string): Promise<string> => {
    await using client = await SmtpClient.connect(submission);
    await client.startTls();
    return (await client.authenticate('app.default', password)).slice(0, 9);
  };
  const rotate = (value: string, overlap: string) =>
    standalone.write(
      'user.yaml',
      userManifest
        .replace('{name: app}', `{name: app, annotations: {chasqui.dev/rotate-password: "${value}"}}`)
        .replace('secret:', `passwordRotation: {overlap: ${overlap}}, secret:`),
    );
  const first = stored();
  assert.equal(await login(first), '235 2.7.0');

  rotate('1', '1h');
  await standalone.until('there is another password', () => stored() !== first);
  const second = stored();
  await standalone.until('it is in force', async () => (await login(second)) === '235 2.7.0');
  assert.equal(await login(first), '235 2.7.0', 'clients that have not read it yet go on');
  assert.equal(await login('neither'), '535 5.7.8');
  await standalone.untilReady(USER);
  const status = () => standalone.object(USER)?.status as { readonly previousPasswordUntil?: string } | undefined;
  const leftMs = Date.parse(status()?.previousPasswordUntil ?? '') - Date.now();
  assert.ok(leftMs > 3_000_000 && leftMs <= 3_600_000, `${leftMs}`);

  rotate('2', '1s');
  await standalone.until('there is a third', () => stored() !== second);
  await standalone.until('the second is taken no more', async () => (await login(second)) === '535 5.7.8');
  assert.equal(await login(first), '535 5.7.8');
  assert.equal(await login(stored()), '235 2.7.0');
  assert.equal(status()?.previousPasswordUntil, undefined);
});
