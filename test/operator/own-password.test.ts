/** A password of a user's own: clients log in by it, and by another once it is another. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { DOMAIN, domain, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('a user has the password that a Secret of its own holds, and the one before while that is wrong', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring }),
    'domain.yaml': domain(),
    'user.yaml': userManifest.replace('secret:', 'passwordSecretRef: {name: mine}, secret:'),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const login = async (password: string): Promise<string> => {
    await using client = await SmtpClient.connect(submission);
    await client.startTls();
    return (await client.authenticate('app.default', password)).slice(0, 9);
  };
  const ready = () => standalone.condition(USER, 'CredentialReady');
  const told = (reason: string) => standalone.until(`it says ${reason}`, () => ready()?.reason === reason);
  const folder = join(standalone.state, 'secrets/default/mine');
  const keep = (password: string): void => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'password'), password, { mode: 0o600 });
  };

  await told('SecretNotFound');
  keep('correct horse\n');
  await told('PasswordInvalid');
  assert.match(ready()?.message ?? '', /secrets?.* mine ends with a line break/i);
  keep('correct horse');
  await standalone.untilReady(USER);
  await standalone.until('it is in force', async () => (await login('correct horse')) === '235 2.7.0');
  const credential = (key: string) => readFileSync(join(standalone.state, 'secrets/default/app-smtp', key), 'utf8');
  assert.equal(credential('SMTP_PASSWORD'), 'correct horse');

  keep('short');
  await told('PasswordInvalid');
  assert.match(ready()?.message ?? '', /shorter than 8 characters\. The one before is taken meanwhile\.$/);
  assert.equal(await login('correct horse'), '235 2.7.0');

  keep('battery staple');
  await standalone.until('the other is in force', async () => (await login('battery staple')) === '235 2.7.0');
  assert.equal(await login('correct horse'), '535 5.7.8');
  assert.equal(readFileSync(join(folder, 'password'), 'utf8'), 'battery staple', 'it is never written');
  assert.ok(!standalone.lines.some((line) => /horse|staple/.test(JSON.stringify(line))), 'no log tells it');
});
