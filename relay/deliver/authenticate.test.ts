import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { SELF_SIGNED } from '../../test/harness/certificate.ts';
import { Destination } from '../../test/harness/destination.ts';
import { HostFailure, judgeFailure } from './classify.ts';
import { connect } from './connection.ts';
import { readCredentials } from './credentials.ts';
import { TIMEOUTS } from './timeouts.ts';
import type { TlsPlan } from './tls-policy.ts';

const LOGIN = { username: 'relay', password: 'correct horse' };
const always: TlsPlan = { starttls: 'always', verify: false };
const never: TlsPlan = { starttls: 'never', verify: false };

const start = (mechanisms: string) =>
  Destination.start({ certificate: SELF_SIGNED, login: { ...LOGIN, mechanisms }, extensions: ['PIPELINING'] });
const open = ({ port }: Destination, credentials = LOGIN, tls = always) =>
  connect(
    { host: 'dest.test', address: '127.0.0.1', port },
    {
      ...{ hostname: 'relay.example.test', tls, timeouts: TIMEOUTS, signal: new AbortController().signal },
      credentials: async () => credentials,
    },
  );

/** What mail that waits for this connection is told. */
async function refusal(destination: Destination, credentials = LOGIN, tls = always) {
  const failure = await open(destination, credentials, tls).then(
    () => assert.fail('there is a session'),
    (error: unknown) => error,
  );
  assert.ok(failure instanceof HostFailure, String(failure));
  await destination.until(() => destination.open === 0);
  return judgeFailure(failure);
}

describe('a server that asks who we are', () => {
  for (const [mechanisms, lines] of [
    ['LOGIN PLAIN', ['AUTH PLAIN AHJlbGF5AGNvcnJlY3QgaG9yc2U=']],
    ['LOGIN', ['AUTH LOGIN', 'cmVsYXk=', 'Y29ycmVjdCBob3JzZQ==']],
  ] as const) {
    it(`is told by ${lines[0].slice(0, 10).trim()} where it offers ${mechanisms}`, async () => {
      await using destination = await start(mechanisms);
      const connection = await open(destination);
      const { replies } = await connection.send({
        ...{ mailFrom: 'a@example.test', mailParameters: [], content: Buffer.from('Subject: x\r\n\r\nx\r\n') },
        recipients: [{ address: 'b@dest.test', parameters: [] }],
      });
      connection.destroy();
      assert.equal(replies.get('b@dest.test')?.code, 250);
      const [session] = destination.connections;
      assert.deepEqual(session?.lines.slice(0, 3 + lines.length), [
        'EHLO relay.example.test',
        'STARTTLS',
        'EHLO relay.example.test',
        ...lines,
      ]);
    });
  }

  it('and refuses the password is quoted, and mail for it waits', async () => {
    await using destination = await start('PLAIN');
    const { state, reply } = await refusal(destination, { ...LOGIN, password: 'battery staple' });
    assert.equal(state, 'deferred');
    assert.deepEqual([reply.code, reply.enhanced], [451, '4.7.0']);
    assert.match(reply.text, /^cannot authenticate to dest\.test: 535 5\.7\.8 Credentials invalid$/);
  });

  it('by means that we do not have is not told anything', async () => {
    await using destination = await start('GSSAPI CRAM-MD5');
    const { reply } = await refusal(destination);
    assert.match(reply.text, /it offers only GSSAPI CRAM-MD5, and PLAIN or LOGIN is needed/);
    assert.equal(destination.connections[0]?.lines.length, 3);
  });

  it('in clear is not told anything', async () => {
    await using destination = await Destination.start({ login: { ...LOGIN, mechanisms: 'PLAIN' } });
    const { reply } = await refusal(destination, LOGIN, never);
    assert.match(reply.text, /credentials are not sent without TLS/);
    assert.deepEqual(destination.connections[0]?.lines, ['EHLO relay.example.test']);
  });
});

describe('credentials in files', () => {
  const folderWith = async (t: TestContext, files: Readonly<Record<string, readonly [string, number]>>) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'credentials-'));
    t.after(() => rm(folder, { recursive: true }));
    for (const [name, [text, mode]] of Object.entries(files)) await writeFile(path.join(folder, name), text, { mode });
    return folder;
  };

  it('are read without the line end that an editor leaves', async (t) => {
    const folder = await folderWith(t, { username: ['relay\n', 0o600], password: [' correct horse \r\n', 0o440] });
    assert.deepEqual(await readCredentials(folder), { username: 'relay', password: ' correct horse ' });
  });

  for (const [sentence, files, message] of [
    ['that are not there', {}, /ENOENT.*username/],
    ['of which one is not there', { username: ['relay', 0o600] }, /ENOENT.*password/],
    ['that others can read', { username: ['relay', 0o600], password: ['x', 0o604] }, /password can be read by others/],
    ['that are empty', { username: ['\n', 0o600], password: ['x', 0o600] }, /username is empty/],
    ['with a NUL', { username: ['relay', 0o600], password: ['x\0y', 0o600] }, /NUL/],
    ['longer than a line of AUTH', { username: ['r'.repeat(5_000), 0o600], password: ['x', 0o600] }, /5000 bytes/],
  ] as const) {
    it(`${sentence} are not taken`, async (t) => {
      await assert.rejects(readCredentials(await folderWith(t, files)), message);
    });
  }
});
