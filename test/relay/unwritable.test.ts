/** A disk that does not take what is written: no mail is taken, everybody who looks is told why, and it goes on by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Destination } from '../harness/destination.ts';
import { page, samplesOf } from '../harness/monitoring.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { needsStrace } from '../harness/strace.ts';

const WAIT_MS = 60_000;
/** By then the relay has started and taken some mail. The writes that fail: one of mail, then one a second. */
const FROM = 120;
const FAILING = 4;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < giveUpAt, what);
    await pause(20);
  }
}

async function send(client: SmtpClient, n: number): Promise<string> {
  for (const command of ['MAIL FROM:<from@example.test>', `RCPT TO:<user-${n}@dest.test>`, 'DATA']) {
    const reply = await client.say(command);
    if (!/^[23]/.test(reply)) return reply;
  }
  return client.content(`From: from@example.test\r\n\r\nmessage ${n}\r\n`);
}

for (const error of ['EIO', 'EROFS']) {
  test(
    `while writes end with ${error} mail is answered 451 and readiness, metrics and log say why; then it goes on`,
    needsStrace,
    async () => {
      await using destination = await Destination.start();
      const rule = `inject=pwrite64:error=${error}:when=${FROM}..${FROM + FAILING}`;
      await using relay = await RelayProcess.start(destination.port, [
        ...['strace', '-f', '-o', '/dev/null', '-e', 'trace=pwrite64', '-e', rule, '--'],
      ]);
      await using client = await SmtpClient.connect(relay.port);
      await client.talk(['EHLO client.test', '250-']);
      const accepted: string[] = [];
      let reply = '';
      for (let n = 0; n < 100; n++) {
        reply = await send(client, n);
        if (!reply.startsWith('250 ')) break;
        accepted.push(`user-${n}@dest.test`);
      }
      assert.equal(reply, '451 4.3.0 the queue cannot take mail now, try again');
      assert.ok(accepted.length > 0);

      const ready = await page(relay.monitoring, '/readyz');
      assert.equal(ready.status, 503);
      assert.match(ready.text, /the queue cannot be written: disk I\/O error/);
      assert.equal((await samplesOf([relay.monitoring])).get('chasqui_queue_unwritable'), 1);
      await relay.logged('why', (line) => line.message === 'the queue takes no mail');
      assert.match(await client.say('MAIL FROM:<from@example.test>'), /^451 4\.3\.0 /);

      await relay.logged('that it is over', (line) => line.message === 'the queue takes mail again');
      assert.equal((await page(relay.monitoring, '/readyz')).status, 200);
      assert.equal((await samplesOf([relay.monitoring])).get('chasqui_queue_unwritable'), 0);
      assert.match(await send(client, 100), /^250 /);
      accepted.push('user-100@dest.test');
      await relay.untilEmpty();
      await until('all is delivered', () => destination.messages.length >= accepted.length);
      const arrived = new Set(destination.messages.flatMap(({ to }) => to));
      for (const recipient of accepted) assert.ok(arrived.has(recipient), `${recipient} was answered 250 and is lost`);
      assert.equal(destination.messages.length, arrived.size, 'nothing arrives twice');
    },
  );
}
