/** A MailDomain that is deleted while mail of it is queued. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** Text of the domains in the config folder. */
function configured(standalone: Standalone): string {
  const folder = join(standalone.state, 'config/default/outbound');
  const shards = readdirSync(folder).filter((file) => file.startsWith('domains-'));
  return shards.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n');
}

test('mail of a domain that is deleted leaves signed, no more of it is taken, and then its key goes', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  const manifest = relay({ port, submission, monitoring, destination: destination.port });
  const suspended = manifest.replace('  delivery:\n', '  delivery:\n    suspended: true\n');
  await using standalone = await Standalone.start({
    'relay.yaml': suspended,
    'domain.yaml': domain(),
    'other.yaml': domain('other', 'other.test'),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  await using client = await SmtpClient.connect(port);
  await client.talk(
    ['EHLO client.test', '250'],
    ['MAIL FROM:<shop@example.test>', '250'],
    ['RCPT TO:<ada@example.org>', '250'],
    ['DATA', '354'],
  );
  assert.match(await client.content('From: shop@example.test\r\nSubject: Hello\r\n\r\nHello\r\n'), /^250 /);

  standalone.remove('domain.yaml');
  await standalone.until('no more mail is taken', async () => {
    const reply = await client.say('MAIL FROM:<shop@example.test>');
    await client.say('RSET');
    return /^550 5\.7\.1 /.test(reply);
  });
  assert.equal(standalone.object(DOMAIN), undefined);
  assert.match(configured(standalone), /"departed"/);
  // What the operator knows of it is in the config alone.
  await standalone.stop();
  standalone.run();
  await standalone.untilReady(RELAY);
  assert.match(configured(standalone), /"departed"/);
  assert.equal(destination.messages.length, 0);

  standalone.write('relay.yaml', manifest);
  const [message] = await destination.received(1);
  assert.match(message?.data.toString() ?? '', /d=example\.test;\s+s=chasqui-e1;/);
  await standalone.until('the key is gone', () => !configured(standalone).includes('example.test'));
  assert.ok(configured(standalone).includes('other.test'));
  await standalone.untilReady(RELAY);
});
