/** Sessions as clients see them, over real sockets. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { PASSWORD, Receiving } from '../../test/harness/receiving.ts';
import { SmtpClient } from '../../test/harness/smtp-client.ts';

const MESSAGE = 'From: app@example.test\r\nSubject: hi\r\n\r\nhello\r\n';

test('a message is taken over STARTTLS and AUTH, and answered when it is on disk', async () => {
  await using relay = await Receiving.start();
  await using client = await SmtpClient.connect(relay.port('submission'));
  assert.equal(client.greeting, '220 relay.example.test ESMTP Chasqui');
  assert.equal(
    await client.say('EHLO client.test'),
    '250-relay.example.test\n250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-SIZE 100000\n250 STARTTLS',
  );
  assert.equal(
    await client.startTls(),
    '250-relay.example.test\n250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-SIZE 100000\n250 AUTH PLAIN LOGIN',
  );
  assert.equal(await client.authenticate('app.default', PASSWORD), '235 2.7.0 authenticated');
  await client.talk(
    ['MAIL FROM:<app@example.test>', '250 2.1.0 '],
    ['RCPT TO:<ana@Routed.TEST>', '250 2.1.5 '],
    ['DATA', '354 '],
  );
  const reply = await client.content(MESSAGE);
  const accepted = relay.accepted[0];
  assert.ok(accepted);
  assert.equal(reply, `250 2.6.0 queued as ${accepted.queueId}`);
  assert.deepEqual(
    accepted.deliveries.map(({ destination, recipients }) => [destination, recipients.map(({ address }) => address)]),
    [['smtp:127.0.0.1:2627', ['ana@routed.test']]],
  );
  assert.equal(await client.say('QUIT'), '221 2.0.0 good bye');
  assert.equal(await client.ended(), '');
});
