import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SELF_SIGNED } from '../test/harness/certificate.ts';
import { Destination } from '../test/harness/destination.ts';
import type { Credential } from './credential.ts';
import { Failure } from './failure.ts';
import { submit } from './submit.ts';

const LETTER = { from: 'a@example.test', to: ['b@example.org'], subject: 'Hello', text: 'Hello' };
const credential = (port: number, more: Partial<Credential> = {}): Credential => ({
  host: '127.0.0.1',
  port,
  username: 'app.default',
  password: 'secret',
  tls: 'starttls',
  ca: 'not the CA of this server',
  ...more,
});
const failureOf = async (sending: Promise<unknown>): Promise<Failure> => {
  const error = await sending.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof Failure);
  return error;
};
const said = (destination: Destination): string => destination.connections.flatMap(({ lines }) => lines).join('\n');

test('a server with a certificate of another CA never sees the password', async () => {
  await using destination = await Destination.start({ certificate: SELF_SIGNED });
  const { message, exitCode } = await failureOf(submit(credential(destination.port), LETTER));
  assert.match(message, /certificate/);
  assert.equal(exitCode, 1);
  assert.doesNotMatch(said(destination), /AUTH|MAIL/);
});

test('a server without TLS never sees the password', async () => {
  await using destination = await Destination.start();
  const { message, exitCode } = await failureOf(submit(credential(destination.port), LETTER));
  assert.match(message, /did not take the message/);
  assert.equal(exitCode, 1);
  assert.doesNotMatch(said(destination), /AUTH|MAIL/);
});

test('where nobody listens the server is unavailable', async () => {
  const destination = await Destination.start();
  const { port } = destination;
  await destination[Symbol.asyncDispose]();
  const { message, exitCode } = await failureOf(submit(credential(port), LETTER));
  assert.match(message, /cannot be reached.*ECONNREFUSED/);
  assert.equal(exitCode, 69);
});
