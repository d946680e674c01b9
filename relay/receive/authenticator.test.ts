import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import test from 'node:test';
import { PASSWORD, Receiving, verifierOf } from '../../test/harness/receiving.ts';
import { base64, SmtpClient } from '../../test/harness/smtp-client.ts';
import type { UserDocument } from '../config/documents.ts';
import { Authenticator, type AuthResult } from './authenticator.ts';

/** Some 10 ms each: long enough that many at once are seen, short enough to test. */
const ROUNDS = 50_000;
const user = (username: string, password = PASSWORD, rounds = 4_096): [string, UserDocument] => [
  username,
  { username, senders: ['*@example.test'], verifier: verifierOf(password, rounds) },
];
const users = new Map([user('app'), user('other', 'another'), user('dear', PASSWORD, ROUNDS)]);

const authenticator = (waitMs?: number) => new Authenticator(() => 0, waitMs);

test('a password is right for its user only', async () => {
  const { check } = bound(authenticator());
  assert.equal(await check('app', PASSWORD), 'accepted');
  assert.equal(await check('app', 'another'), 'rejected');
  assert.equal(await check('other', PASSWORD), 'rejected');
  assert.equal(await check('APP', PASSWORD), 'rejected');
  assert.equal(await check('app', ''), 'rejected');
  assert.equal(await check('app', `${PASSWORD} `), 'rejected');
});

test('an unknown user is never accepted, whatever known one its check is made with', async () => {
  const one = bound(authenticator());
  const only = new Map([user('app')]);
  assert.equal(await one.check('nobody', PASSWORD, 'a', only), 'rejected');
  assert.equal(await one.check('nobody', PASSWORD, 'a', only), 'rejected');
  assert.equal(await one.check('nobody', PASSWORD, 'a', new Map()), 'rejected');
});

test('while a password is being changed, both are right, and nothing else; then the new one alone', async () => {
  const { check } = bound(authenticator());
  const [name, document] = user('app', 'new');
  const both = new Map([[name, { ...document, previousVerifier: verifierOf('old') }]]);
  for (const password of ['new', 'old', 'old', 'new'])
    assert.equal(await check('app', password, 'a', both), 'accepted');
  assert.equal(await check('app', 'other', 'a', both), 'rejected');
  assert.equal(await check('nobody', 'old', 'a', both), 'rejected');
  const after = new Map([[name, document]]);
  assert.equal(await check('app', 'old', 'a', after), 'rejected', 'though it was right before');
  assert.equal(await check('app', 'new', 'a', after), 'accepted');
});

test('compatible characters are one password (RFC 4013)', async () => {
  const { check } = bound(authenticator());
  const only = new Map([user('app', 'Ⅸ é')]);
  assert.equal(await check('app', 'IX é', 'a', only), 'accepted');
});

test('a password that was right is not derived again, until the verifier is another', async () => {
  const { check } = bound(authenticator());
  const cost = async (attempts: number) => {
    const before = process.cpuUsage();
    for (let n = 0; n < attempts; n += 1) assert.equal(await check('dear', PASSWORD), 'accepted');
    const { user: userTime, system } = process.cpuUsage(before);
    return userTime + system;
  };
  const first = await cost(1);
  const next = await cost(20);
  assert.ok(next < 10 * first, `the first took ${first} us of CPU, 20 more ${next} us`);
  const changed = new Map([user('dear', 'changed')]);
  assert.equal(await check('dear', PASSWORD, 'a', changed), 'rejected');
  assert.equal(await check('dear', 'changed', 'a', changed), 'accepted');
});

test('two are derived at once, 64 wait, and the rest is turned away at once', async () => {
  const { check } = bound(authenticator(60_000));
  const done: AuthResult[] = [];
  const all = Array.from({ length: 100 }, async (_, n) => {
    const result = await check('dear', `guess ${n}`, `client ${n}`);
    done.push(result);
    return result;
  });
  // The disk shares libuv's pool of four threads with PBKDF2.
  await stat('.');
  assert.ok(done.filter((result) => result === 'rejected').length < 33, 'the disk has to wait for all of them');
  const results = await Promise.all(all);
  assert.equal(results.filter((result) => result === 'busy').length, 34);
  assert.equal(results.filter((result) => result === 'rejected').length, 66);
});

test('one client cannot take all places of those who wait', async () => {
  const { check } = bound(authenticator(60_000));
  const flood = Array.from({ length: 40 }, (_, n) => check(`user${n}`, 'guess', 'flood'));
  const other = check('app', PASSWORD, 'other');
  assert.equal((await Promise.all(flood)).filter((result) => result === 'busy').length, 40 - 18);
  assert.equal(await other, 'accepted');
});

test('nobody waits for longer than it is told, and a place that was left is free', async () => {
  const { check } = bound(authenticator(1));
  const slow = new Map([user('slow', PASSWORD, 2_000_000)]);
  const [first, second, third] = ['a', 'b', 'c'].map((password) => check('slow', password, password, slow));
  assert.equal(await third, 'busy');
  assert.deepEqual(await Promise.all([first, second]), ['rejected', 'rejected']);
  assert.equal(await check('app', PASSWORD), 'accepted');
});

test('many sessions that begin at once with one password cost one derivation and are all accepted', async () => {
  const { check } = bound(authenticator());
  const results = await Promise.all(Array.from({ length: 500 }, () => check('dear', PASSWORD)));
  assert.deepEqual(new Set(results), new Set(['accepted']));
});

test('a client that was wrong too often is refused also with the right password, others are not', async () => {
  const { check } = bound(authenticator());
  for (let n = 0; n < 10; n += 1) assert.equal(await check('app', `guess ${n}`, 'bad'), 'rejected');
  assert.equal(await check('app', PASSWORD, 'bad'), 'limited');
  assert.equal(await check('app', PASSWORD, 'good'), 'accepted');
  // Not through what is remembered either.
  assert.equal(await check('app', PASSWORD, 'bad'), 'limited');
  assert.equal(await check('other', 'another', 'bad'), 'accepted');
});

test('guesses that come all at once are not more than in turn', async () => {
  const { check } = bound(authenticator(60_000));
  const results = await Promise.all(Array.from({ length: 100 }, (_, n) => check('app', `guess ${n}`, 'bad')));
  assert.equal(results.filter((result) => result === 'rejected').length, 10);
  assert.equal(results.filter((result) => result === 'limited').length, 90);
});

test('what is too long is wrong without a look', async () => {
  const { check } = bound(authenticator());
  assert.equal(await check('app', 'x'.repeat(1_025)), 'rejected');
  assert.equal(await check('x'.repeat(321), PASSWORD), 'rejected');
});

test('a session hears of the limit, later each time, and is let in when the time has come', async () => {
  await using relay = await Receiving.start();
  relay.nowMs = Date.now();
  const guess = (n: number) => `C: AUTH PLAIN ${base64(`\0app.default\0guess ${n}`)}`;
  const login = `C: AUTH PLAIN ${base64(`\0app.default\0${PASSWORD}`)}`;
  const session = async (dialogue: string) => {
    await using client = await SmtpClient.connect(relay.port('submissions'), { implicitTls: true });
    await client.play(`C: EHLO client.test\nS: 250-\n${dialogue}`);
  };
  for (const round of [0, 5]) {
    const wrong = [1, 2, 3, 4].map((n) => `${guess(round + n)}\nS: 535 5.7.8`).join('\n');
    await session(`${wrong}\n${guess(round)}\nS: 421 4.7.0\nS: (end)`);
  }
  assert.deepEqual(relay.delaysMs, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000, 5_000]);
  await session(`${login}\nS: 454 4.7.0`);
  assert.ok(relay.rejections().includes('auth auth_limited 454 4.7.0'));
  relay.nowMs += 60_000;
  await session(`${login}\nS: 235 2.7.0`);
});

function bound(one: Authenticator) {
  return {
    check: (username: string, password: string, client = 'a', among: ReadonlyMap<string, UserDocument> = users) =>
      one.check(among, { client, username, password }),
  };
}
