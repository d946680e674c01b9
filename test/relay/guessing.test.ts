/** Somebody guesses a password that people chose, in as many sessions as there may be: it is slow, and costs others nothing. */
import assert from 'node:assert/strict';
import { pbkdf2Sync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { DOMAIN, domain, RELAY, relay, USER, userManifest } from '../harness/local-relay.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const GUESSER = '127.0.0.2';
const SESSIONS = 60;
/** Of one client and user name; the rest is refused without a look (decision 5). */
const LOOKED_AT = 10;
const PASSWORD = 'correct horse battery staple';

async function session(port: number, from: string): Promise<SmtpClient> {
  const client = await SmtpClient.connect(port, { from });
  await client.startTls();
  return client;
}

/** CPU time of a process so far, in ms. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  // utime and stime (proc(5)), in ticks of 10 ms.
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** CPU time of looking at one guess: a password that people chose has 100,000 rounds. */
function derivationMs(): number {
  const before = process.cpuUsage();
  for (let n = 0; n < 10; n += 1) pbkdf2Sync(PASSWORD, 'salt', 100_000, 32, 'sha256');
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 10 / 1_000;
}

test('sixty guesses at once: ten are looked at, each waits for its reply, and the user goes on', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);
  writeFileSync(join(standalone.state, 'secrets/default/app-smtp/password'), PASSWORD);
  await standalone.until('the password is in force', async () => {
    await using client = await session(submission, '127.0.0.3');
    return (await client.authenticate('app.default', PASSWORD)).startsWith('235 ');
  });
  const pid = standalone.replicaPids().get(0) ?? 0;
  const guessers = [];
  for (let n = 0; n < SESSIONS; n += 1) guessers.push(await session(submission, GUESSER));
  await using user = await session(submission, '127.0.0.1');

  const before = process.platform === 'linux' ? cpuMs(pid) : 0;
  const replies = guessers.map(async (client, n) => {
    const asked = performance.now();
    const reply = await client.authenticate('app.default', `guess ${n}`);
    return { reply: reply.slice(0, 9), waited: performance.now() - asked };
  });
  assert.match(await user.authenticate('app.default', PASSWORD), /^235 /);
  const told = await Promise.all(replies);
  const cost = process.platform === 'linux' ? cpuMs(pid) - before : 0;

  assert.equal(told.filter(({ reply }) => reply === '535 5.7.8').length, LOOKED_AT);
  assert.equal(told.filter(({ reply }) => reply === '454 4.7.0').length, SESSIONS - LOOKED_AT);
  for (const { waited } of told) assert.ok(waited > 245, `told after ${waited} ms`);
  assert.ok(cost < (SESSIONS / 2) * derivationMs(), `${cost} ms of CPU`);
  await using again = await session(submission, '127.0.0.1');
  assert.match(await again.authenticate('app.default', PASSWORD), /^235 /);
  // Who guesses is told nothing more, not even that it is right at last.
  for (const client of guessers.splice(1)) client.drop();
  assert.match((await guessers[0]?.authenticate('app.default', PASSWORD)) ?? '', /^454 4\.7\.0 /);
  guessers[0]?.drop();
});
