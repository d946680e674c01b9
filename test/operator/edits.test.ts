/** Edits of manifests, as sessions and connections see them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Destination } from '../harness/destination.ts';
import { clients, DOMAIN, domain, greeting, RELAY, relay, send, USER, userManifest } from '../harness/local-relay.ts';
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

/** Opens connections to the port until it is told to end; tells how they ended, other than well. */
function connects(port: number): { met: number; end(): Promise<readonly string[]> } {
  let ended = false;
  const problems: string[] = [];
  const loop = { met: 0, end };
  const run = async (): Promise<void> => {
    while (!ended) {
      const socket = connect(port, '127.0.0.1').resume().end();
      await once(socket, 'close').catch((error) => problems.push(String(error)));
      loop.met += 1;
      // Not so many that they are all that this machine does.
      await pause(2);
    }
  };
  const running = run();
  async function end(): Promise<readonly string[]> {
    ended = true;
    await running;
    return problems;
  }
  return loop;
}

test('listeners come, move, change and go in the same processes, and no connection is refused or reset', async (t) => {
  const [port = 0, submission = 0, added = 0, moved = 0, monitoring = 0] = await freePorts(6);
  const wish = { port, submission, monitoring, replicas: 2 };
  await using standalone = await Standalone.start({
    'relay.yaml': relay(wish),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  const [local, app] = await sessions(standalone, port, submission);
  await using _local = local;
  await using _app = app;
  await using busy = clients(port);
  const busyToo = connects(submission);

  // A replica that does not greet so yet takes some of the connections.
  const greetedByBoth = async (at: number, protocol: 'Submission' | 'Submissions'): Promise<void> => {
    for (let row = 0; row < 8; row++) {
      await standalone.until(`clients are greeted at ${at}`, async () => {
        try {
          await using client = await SmtpClient.connect(at, { implicitTls: protocol === 'Submissions' });
          return client.greeting.startsWith('220 ');
        } catch {
          row = 0;
          return false;
        }
      });
    }
  };
  const more = (): Promise<void> => {
    const [before, beforeToo] = [busy.met.length, busyToo.met];
    return standalone.until(
      'more clients have come',
      () => busy.met.length > before + 50 && busyToo.met > beforeToo + 50,
    );
  };
  const refused = (at: number) =>
    standalone.until(`${at} is closed`, async () => (await greeting(at)) === 'ECONNREFUSED');
  const listeners = (text: string) => (yaml: string) => yaml.replace('  listeners:', `  listeners:\n    ${text}`);

  standalone.edit('relay.yaml', listeners(`- {name: added, protocol: Submission, port: ${added}}`));
  await greetedByBoth(added, 'Submission');
  await using client = await SmtpClient.connect(added);
  await more();

  standalone.edit('relay.yaml', (text) => text.replace(`port: ${added}}`, `port: ${moved}}`));
  await greetedByBoth(moved, 'Submission');
  await refused(added);
  await more();

  for (const [former, next] of [
    ['Submission', 'Submissions'],
    ['Submissions', 'Submission'],
  ] as const) {
    standalone.edit('relay.yaml', (text) =>
      text
        .replace(`protocol: ${former}, port: ${moved}}`, `protocol: ${next}, port: ${moved}}`)
        .replace(`protocol: ${former}, port: ${submission}}`, `protocol: ${next}, port: ${submission}}`),
    );
    await greetedByBoth(moved, next);
    await greetedByBoth(submission, next);
    await more();
  }

  standalone.edit('relay.yaml', (text) => text.replace('name: local,', 'name: renamed,'));
  await standalone.until('the new name is in force', async () => {
    await send(port, 'by which listener');
    return standalone.lines.some(({ event, listener }) => event === 'received' && listener === 'renamed');
  });
  standalone.edit('relay.yaml', (text) => text.replace(/.*name: added.*\n/, ''));
  await refused(moved);
  await more();

  assert.deepEqual([...new Set(await busy.end())], ['220']);
  assert.deepEqual(await busyToo.end(), []);
  t.diagnostic(`${busy.met.length} and ${busyToo.met} connections`);
  for (const session of [local, app, client]) assert.match(await session.say('NOOP'), /^250 /);
  await sendIn(local, 'still here');
  assert.deepEqual(standalone.replicaPids(), pids);
});
