/** Edits of manifests, as sessions and connections see them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { clients, DOMAIN, domain, greeting, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

/** A session of a client of this machine, and one of the SmtpUser. */
async function sessions(standalone: Standalone, port: number, submission: number): Promise<[SmtpClient, SmtpClient]> {
  const local = await SmtpClient.connect(port);
  assert.match(await local.say('EHLO client.test'), /^250-relay\.example\.test\n/);
  const app = await SmtpClient.connect(submission);
  await app.startTls();
  const password = readFileSync(join(standalone.state, 'secrets/default/app-smtp/password'), 'utf8');
  assert.match(await app.authenticate('app.default', password), /^235 /);
  return [local, app];
}

/** What MAIL is answered; nothing is left open. */
async function mail(session: SmtpClient, argument: string): Promise<string> {
  const reply = await session.say(`MAIL FROM:${argument}`);
  if (reply.startsWith('250')) assert.match(await session.say('RSET'), /^250 /);
  return reply;
}

async function sendIn(session: SmtpClient, subject: string): Promise<void> {
  await session.talk(['MAIL FROM:<shop@example.test>', '250'], ['RCPT TO:<ada@example.org>', '250'], ['DATA', '354']);
  const reply = await session.content(`From: shop@example.test\r\nSubject: ${subject}\r\n\r\nHello\r\n`);
  assert.match(reply, /^250 /);
}

test('an open session goes on over edits of MailDomains and SmtpUsers, and obeys them', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  const [local, app] = await sessions(standalone, port, submission);
  await using _local = local;
  await using _app = app;
  const answers = (session: SmtpClient, sender: string, reply: RegExp) =>
    standalone.until(`MAIL FROM:${sender} is answered ${reply}`, async () => reply.test(await mail(session, sender)));

  for (const session of [local, app]) {
    assert.match(await mail(session, '<a@example.test>'), /^250 /);
    assert.match(await mail(session, '<a@second.test>'), /^550 5\.7\.1 /);
  }
  standalone.write('second.yaml', domain('second', 'second.test'));
  await answers(local, '<a@second.test>', /^250 /);
  assert.match(await mail(app, '<a@second.test>'), /^550 5\.7\.1 /);

  standalone.edit('user.yaml', (text) => text.replace('*@example.test', '*@second.test'));
  await answers(app, '<a@second.test>', /^250 /);
  assert.match(await mail(app, '<a@example.test>'), /^550 5\.7\.1 /);

  standalone.remove('second.yaml');
  await answers(local, '<a@second.test>', /^550 5\.7\.1 /);
  standalone.remove('user.yaml');
  await answers(app, '<a@example.test>', /^535 5\.7\.8 /);

  for (const session of [local, app]) assert.match(await session.say('NOOP'), /^250 /);
  assert.deepEqual(standalone.replicaPids(), pids);
});

test('an open session goes on over edits of an SmtpRelay, and obeys them', async () => {
  const [port = 0, submission = 0, monitoring = 0, moved = 0] = await freePorts(4);
  await using former = await Destination.start();
  await using next = await Destination.start();
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: former.port }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  const [local, app] = await sessions(standalone, port, submission);
  await using _local = local;
  await using _app = app;
  await sendIn(local, 'former');
  await sendIn(app, 'former');
  await former.received(2);
  assert.match(await mail(local, '<a@example.test> SIZE=2000000'), /^250 /);
  const page = async (at: number) => (await fetch(`http://127.0.0.1:${at}/metrics`)).text();
  assert.match(await page(monitoring), /^chasqui_/m);

  standalone.edit('relay.yaml', (text) =>
    text
      .replace(`port: ${former.port}`, `port: ${next.port}`)
      .replace('relay.example.test', 'other.example.test')
      .replace(`monitoring: {port: ${monitoring}}`, `monitoring: {port: ${moved}}`)
      .concat('  limits: {messageSize: 1Mi, recipients: 1}\n'),
  );
  await standalone.until('the new size is in force', async () =>
    /^552 5\.3\.4 /.test(await mail(local, '<a@example.test> SIZE=2000000')),
  );
  assert.match(await local.say('EHLO client.test'), /^250-other\.example\.test\n/);
  for (const session of [local, app]) {
    await session.talk(
      ['MAIL FROM:<a@example.test>', '250'],
      ['RCPT TO:<ada@example.org>', '250'],
      ['RCPT TO:<bob@example.org>', '452 4.5.3'],
      ['RSET', '250'],
    );
    await sendIn(session, 'next');
  }
  await next.received(2);
  await standalone.until('metrics have moved', () =>
    page(moved).then(
      (text) => text !== '',
      () => false,
    ),
  );
  await assert.rejects(page(monitoring));
  assert.equal((await former.received(2)).length, 2);
  assert.deepEqual(standalone.replicaPids(), pids);
});

test('other listeners replace the replicas, and no connection is refused', async () => {
  const [port = 0, submission = 0, added = 0, monitoring = 0] = await freePorts(5);
  const wish = { port, submission, monitoring, replicas: 2 };
  await using standalone = await Standalone.start({ 'relay.yaml': relay(wish) });
  await standalone.untilReady(RELAY);
  const before = [...standalone.replicaPids().values()];
  await using busy = clients(port);
  standalone.edit('relay.yaml', (text) =>
    text.replace('  listeners:', `  listeners:\n    - {name: added, protocol: Submission, port: ${added}}`),
  );
  await standalone.until('both replicas are replaced', () => {
    const now = [...standalone.replicaPids().values()];
    return now.every((pid) => !before.includes(pid)) && standalone.replicas(RELAY) === 'Ready Ready';
  });
  await standalone.untilReady(RELAY);
  const met = new Set(await busy.end());
  assert.ok(met.has('220'));
  // 421: the connection waited in a replica that was told to end.
  assert.deepEqual(
    [...met].filter((word) => word !== '220' && word !== '421'),
    [],
  );
  assert.equal(await greeting(added), '220 relay');
});
