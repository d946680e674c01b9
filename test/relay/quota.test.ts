/** The quota of an SmtpUser is one for all replicas, and outlives them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { page, samplesOf } from '../harness/monitoring.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const REPLICAS = 2;
/** In a session, which one replica serves. */
const MESSAGES = 10;

class App {
  taken = 0;
  refused = 0;
  readonly #standalone: Standalone;
  readonly #port: number;

  constructor(standalone: Standalone, port: number) {
    this.#standalone = standalone;
    this.#port = port;
  }

  /** One session: messages of one recipient, whatever each is answered. */
  async session(): Promise<void> {
    await using client = await SmtpClient.connect(this.#port);
    await client.startTls();
    const password = readFileSync(join(this.#standalone.state, 'secrets/default/app-smtp/password'), 'utf8');
    assert.match(await client.authenticate('app.default', password), /^235 /);
    for (let message = 0; message < MESSAGES; message += 1) {
      await client.talk(['MAIL FROM:<app@example.test>', '250 ']);
      const reply = await client.say('RCPT TO:<ada@example.org>');
      if (reply.startsWith('250 ')) {
        await client.talk(['DATA', '354 ']);
        assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
        this.taken += 1;
      } else {
        assert.match(reply, /^450 4\.7\.1 your quota of \d+ recipients per hour is used up, try later$/);
        await client.talk(['RSET', '250 ']);
        this.refused += 1;
      }
    }
  }
}

test('a quota of 100, 300 sent over two replicas that are killed in between: 100 are taken', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(2 + REPLICAS);
  await using destination = await Destination.start();
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port, replicas: REPLICAS }),
    'domain.yaml': domain(),
    'user.yaml': userManifest.replace('secret:', 'quota: {recipientsPerHour: 100}, secret:'),
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  const app = new App(standalone, submission);
  /** How often each replica has refused a recipient since it was started. */
  const refusals = async (): Promise<readonly number[]> => {
    const counts: number[] = [];
    for (let ordinal = 0; ordinal < REPLICAS; ordinal += 1) {
      const samples = await samplesOf([monitoring + ordinal]);
      const sample = 'chasqui_smtp_rejected_total{listener="submission",stage="rcpt",reason="quota_used_up"}';
      counts.push(samples.get(sample) ?? 0);
    }
    return counts;
  };
  const untilUp = (): Promise<void> =>
    standalone.until('all replicas are ready', async () => {
      const ports = Array.from({ length: REPLICAS }, (_, ordinal) => monitoring + ordinal);
      const pages = await Promise.allSettled(ports.map((at) => page(at, '/readyz')));
      return pages.every((one) => one.status === 'fulfilled' && one.value.status === 200);
    });
  /** The kernel chooses the replica of a session: until both have refused more than before. */
  const untilUsedUp = async (): Promise<void> => {
    const before = await refusals();
    await standalone.until('both replicas refuse', async () => {
      await app.session();
      return (await refusals()).every((count, ordinal) => count > (before[ordinal] ?? 0));
    });
  };

  for (let sent = 0; sent < 60; sent += MESSAGES) await app.session();
  const killed = [...standalone.replicaPids().values()];
  for (const pid of killed) process.kill(pid, 'SIGKILL');
  await standalone.until('others are started', () =>
    [...standalone.replicaPids().values()].every((pid) => !killed.includes(pid)),
  );
  await untilUp();
  await untilUsedUp();
  while (app.taken + app.refused < 300) await app.session();
  assert.equal(app.taken, 100);

  const pids = standalone.replicaPids();
  standalone.edit('user.yaml', (text) => text.replace('100', '140'));
  await standalone.until('more is taken', async () => {
    await app.session();
    return app.taken > 100;
  });
  await untilUsedUp();
  assert.equal(app.taken, 140);
  assert.deepEqual(standalone.replicaPids(), pids, 'no process was replaced for it');

  assert.equal(await standalone.stop(), 0);
  standalone.run();
  await untilUp();
  await untilUsedUp();
  assert.equal(app.taken, 140);
  assert.equal((await destination.received(140)).length, 140);
});
