/** Edits of who may send, when and from where, as an SmtpUser's sessions see them; and a password that people chose. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { DOMAIN, domain, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const SUSPENDED = '535 5.7.8 this user is suspended';
const ELSEWHERE = '550 5.7.1 this user may not send from 127.0.0.1';

async function started(): Promise<{ standalone: Standalone; submission: number; passwordFile: string }> {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  return { standalone, submission, passwordFile: join(standalone.state, 'secrets/default/app-smtp/password') };
}

/** What AUTH is answered in a new session. */
async function login(port: number, password: string, from = '127.0.0.1'): Promise<string> {
  await using client = await SmtpClient.connect(port, { from });
  await client.startTls();
  return await client.authenticate('app.default', password);
}

test('a user who is suspended, or elsewhere, sends no more, in open sessions either; until that is taken back', async () => {
  const { standalone, submission, passwordFile } = await started();
  await using _ = standalone;
  const password = readFileSync(passwordFile, 'utf8');
  await using open = await SmtpClient.connect(submission);
  await open.startTls();
  assert.match(await open.authenticate('app.default', password), /^235 /);
  const mail = async () => {
    const reply = await open.say('MAIL FROM:<a@example.test>');
    if (reply.startsWith('250 ')) await open.talk(['RSET', '250 ']);
    return reply;
  };
  const answered = (reply: string) => standalone.until(reply, async () => (await mail()).startsWith(reply));
  const limited = (limit: string) => standalone.write('user.yaml', userManifest.replace('secret:', `${limit}secret:`));

  limited('suspended: true, ');
  await answered(SUSPENDED);
  assert.equal(await login(submission, password), SUSPENDED);
  assert.match(
    await login(submission, 'wrong'),
    /^535 5\.7\.8 wrong user name or password$/,
    'and nobody else is told',
  );

  limited('allowedNetworks: [127.0.0.2/32, "2001:db8::/32"], ');
  await answered(ELSEWHERE);
  assert.equal(await login(submission, password), ELSEWHERE);
  assert.match(await login(submission, password, '127.0.0.2'), /^235 /);

  limited('');
  await answered('250 ');
  assert.match(await login(submission, password), /^235 /);
});

test('a password that was chosen by people is the same however it is typed', async () => {
  const { standalone, submission, passwordFile } = await started();
  await using _ = standalone;
  // U+2168 is one character; e and the accent are two.
  writeFileSync(passwordFile, 'Ⅸ cafe\u0301');
  await standalone.until('it is in force', async () => (await login(submission, 'Ⅸ cafe\u0301')).startsWith('235 '));
  assert.match(await login(submission, 'IX caf\u00e9'), /^235 /);
  assert.match(await login(submission, 'IX cafe'), /^535 /);
});
