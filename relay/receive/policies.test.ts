/** Who may send what to whom, as a client with AUTH (on `submission`) or of an exempt network (on `local`) hears it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Receiving } from '../../test/harness/receiving.ts';

let relay: Receiving;
before(async () => {
  relay = await Receiving.start();
});
after(() => relay[Symbol.asyncDispose]());

const DIALOGUES: readonly (readonly [what: string, listener: 'submission' | 'local', dialogue: string])[] = [
  [
    'MAIL with parameters',
    'submission',
    `
    C: MAIL FROM:<app@example.test> SIZE=100001
    S: 552 5.3.4
    C: MAIL FROM:<app@example.test> SIZE=99999999999999999999
    S: 552 5.3.4
    C: MAIL FROM:<app@example.test> SIZE=-1
    S: 501 5.5.4
    C: MAIL FROM:<app@example.test> SIZE
    S: 501 5.5.4
    C: MAIL FROM:<app@example.test> BODY=BINARYMIME
    S: 501 5.5.4
    C: MAIL FROM:<app@example.test> SMTPUTF8=1
    S: 501 5.5.4
    C: MAIL FROM:<app@example.test> RET=HDRS
    S: 555 5.5.4
    C: MAIL FROM:<app@example.test> SIZE=1 SIZE=1
    S: 501 5.5.4
    C: MAIL FROM:<app@example.test> AUTH=<> BODY=7bit SIZE=100000
    S: 250 2.1.0
    C: RCPT TO:<ana@dest.test> NOTIFY=NEVER
    S: 555 5.5.4`,
  ],
  [
    'senders',
    'submission',
    `
    C: MAIL
    S: 501 5.5.4
    C: MAIL FROM
    S: 501 5.5.4
    C: MAIL FROM:app@example.test
    S: 553 5.1.7
    C: MAIL FROM:<app>
    S: 553 5.1.7
    C: MAIL FROM:<app@example.test
    S: 553 5.1.7
    C: MAIL FROM:<app@sub.example.test>
    S: 550 5.7.1
    C: MAIL FROM:<other@other.test>
    S: 550 5.7.1
    C: MAIL FROM:<app@[192.0.2.1]>
    S: 550 5.7.1
    C: MAIL FROM:<"a@example.test"@evil.test>
    S: 550 5.7.1
    C: MAIL FROM:<@example.test:boss@evil.test>
    S: 550 5.7.1
    C: MAIL FROM:<жанна@example.test>
    S: 553 5.6.7
    C: MAIL FROM:<a@müller.test>
    S: 553 5.6.7
    C: MAIL FROM:<a@müller.test> SMTPUTF8
    S: 250 2.1.0
    C: RSET
    S: 250 2.0.0
    C: MAIL FROM:<ONLY@Other.Test>
    S: 250 2.1.0
    C: RSET
    S: 250 2.0.0
    C: MAIL FROM:<"only"@other.test>
    S: 250 2.1.0
    C: RSET
    S: 250 2.0.0
    C: MAIL FROM: <@route.test:app@example.test>
    S: 250 2.1.0
    C: RSET
    S: 250 2.0.0
    C: MAIL FROM:<>
    S: 250 2.1.0`,
  ],
  [
    'senders of an exempt network',
    'local',
    `
    C: MAIL FROM:<app@other.test>
    S: 550 5.7.1
    C: MAIL FROM:<anyone@example.test>
    S: 250 2.1.0`,
  ],
  [
    'recipients',
    'submission',
    `
    C: MAIL FROM:<app@example.test>
    S: 250 2.1.0
    C: RCPT
    S: 501 5.5.4
    C: RCPT FROM:<ana@dest.test>
    S: 501 5.5.4
    C: RCPT TO:<>
    S: 553 5.1.3
    C: RCPT TO:ana@dest.test
    S: 553 5.1.3
    C: RCPT TO:<жанна@dest.test>
    S: 553 5.6.7
    C: RCPT TO:<ana@null-mx.test>
    S: 556 5.1.10
    C: RCPT TO:<"a b"@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<ana@[IPv6:2001:db8::1]>
    S: 250 2.1.5
    C: RCPT TO:<1@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<2@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<3@dest.test>
    S: 250 2.1.5
    C: RCPT TO:<4@dest.test>
    S: 452 4.5.3
    C: RCPT TO:<3@DEST.test>
    S: 250 2.1.5
    C: DATA
    S: 354 end`,
  ],
];

for (const [what, listener, dialogue] of DIALOGUES) {
  test(`${what} (${listener})`, async () => {
    await using client = await relay.session(listener);
    await client.play(dialogue);
    assert.equal(relay.accepted.length, 0, 'nothing was taken');
  });
}

test('a null MX matters only where mail goes by MX', async () => {
  await using routed = await Receiving.start();
  await using client = await routed.session('local');
  await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<ana@null-mx.test>', '556 5.1.10 ']);
  const { settings } = routed.config;
  const routes = [{ domains: ['*'], smarthosts: [{ host: '127.0.0.1', port: 2627, tls: 'Disabled' as const }] }];
  routed.change({ settings: { ...settings, delivery: { ...settings.delivery, routes } } });
  await client.talk(['RCPT TO:<ana@null-mx.test>', '250 2.1.5 ']);
});

test('a user who is removed sends no more in an open session, and one who loses a sender not as it', async () => {
  await using changing = await Receiving.start();
  await using client = await changing.session();
  await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RSET', '250 ']);
  const user = changing.config.users.get('app.default');
  assert.ok(user);
  changing.change({ users: new Map([['app.default', { ...user, senders: ['*@other.test'] }]]) });
  await client.talk(['MAIL FROM:<app@example.test>', '550 5.7.1 '], ['MAIL FROM:<app@other.test>', '250 ']);
  changing.change({ users: new Map() });
  // What the message says of itself is judged by what holds when it comes.
  await client.talk(['RCPT TO:<ana@dest.test>', '250 '], ['DATA', '354 ']);
  assert.match(await client.content('From: app@other.test\r\n\r\nx\r\n'), /^550 5\.7\.1 /);
  await client.talk(['MAIL FROM:<app@other.test>', '535 5.7.8 ']);
  assert.equal(changing.accepted.length, 0);
});
