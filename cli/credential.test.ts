import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SmtpUser } from '../crds/smtpuser.ts';
import * as manifests from '../test/harness/manifests.ts';
import { chooseUser, credentialOf, defaultSender } from './credential.ts';

const user = (
  name: string,
  namespace = 'default',
  more: Partial<Pick<SmtpUser, 'status'>> = {},
  senders = ['*@example.test'],
): SmtpUser => manifests.user(name, { senders }, { namespace }, more.status);

test('the only user needs no name', () => assert.equal(chooseUser([user('app')], undefined).metadata.name, 'app'));

test('of several users one must be named, and the message tells which there are', () => {
  const users = [user('app'), user('app', 'mail')];
  assert.equal(chooseUser(users, 'app').metadata.namespace, 'default');
  assert.equal(chooseUser(users, 'app.mail').metadata.namespace, 'mail');
  assert.throws(() => chooseUser(users, undefined), /--user .*app.default, app.mail/);
  assert.throws(() => chooseUser(users, 'web'), /no SmtpUser web.default; there are: app.default, app.mail/);
  assert.throws(() => chooseUser([], undefined), /add one to the manifests/);
});

test('the default sender is an address of the user, else hello at its first domain', () => {
  assert.equal(defaultSender(user('app', 'default', {}, ['*@example.test', 'info@example.test'])), 'info@example.test');
  assert.equal(defaultSender(user('app')), 'hello@example.test');
});

function secret(t: TestContext, content: Record<string, string>): string {
  const state = mkdtempSync(join(tmpdir(), 'credential-'));
  t.after(() => rmSync(state, { recursive: true }));
  mkdirSync(join(state, 'secrets/default/app-smtp'), { recursive: true });
  for (const [key, value] of Object.entries(content))
    writeFileSync(join(state, 'secrets/default/app-smtp', key), value);
  return state;
}
const WHOLE = {
  host: 'localhost',
  port: '2465',
  username: 'app.default',
  password: 'pw',
  tls: 'implicit',
  'ca.crt': 'PEM',
};
const withSecret = user('app', 'default', { status: { secretName: 'app-smtp' } });

test('a credential is what the files of the Secret say', async (t) => {
  const { port, ...rest } = await credentialOf(secret(t, WHOLE), withSecret);
  assert.equal(port, 2465);
  assert.deepEqual(rest, { host: 'localhost', username: 'app.default', password: 'pw', tls: 'implicit', ca: 'PEM' });
});

test('a Secret that is incomplete or strange is told', async (t) => {
  const { password: _, ...incomplete } = WHOLE;
  await assert.rejects(credentialOf(secret(t, incomplete), withSecret), /app-smtp.password is missing/);
  await assert.rejects(credentialOf(secret(t, { ...WHOLE, tls: 'none' }), withSecret), /no port or tls/);
});

test('a user that is not in force tells why', async () => {
  const refused = user('app', 'default', {
    status: {
      conditions: [
        {
          type: 'Accepted',
          status: 'False',
          reason: 'RelayNotFound',
          message: 'no such relay',
          observedGeneration: 1,
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    },
  });
  await assert.rejects(credentialOf('/nowhere', refused), /not in force: no such relay/);
  await assert.rejects(credentialOf('/nowhere', user('app')), /no credential yet/);
});
