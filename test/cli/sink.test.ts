/** `chasqui sink` as a judge of signatures: it has the records of the MailDomains, and passes nothing else. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import { freePorts } from '../harness/standalone.ts';

const PROGRAM = join(import.meta.dirname, '../../bin/chasqui');
const WAIT_MS = 20_000;

const { privateKey, publicKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const KEY_NAME = 's1._domainkey.example.test';

test('the sink passes signatures by the records of the MailDomains, and no others', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'sink-'));
  t.after(() => rmSync(state, { recursive: true, force: true }));
  const folder = join(state, 'objects/MailDomain/default');
  mkdirSync(folder, { recursive: true });
  const record = { type: 'TXT', name: KEY_NAME, value: `v=DKIM1; k=rsa; p=${publicKey.toString('base64')}` };
  writeFileSync(join(folder, 'example-test.json'), JSON.stringify({ status: { dnsRecords: [record] } }));

  const [port = 0] = await freePorts(1);
  const sink = spawn(PROGRAM, ['sink', '--json', '--listen', `127.0.0.1:${port}`, '--state', state], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(async () => {
    if (sink.exitCode !== null || sink.signalCode !== null) return;
    sink.kill('SIGKILL');
    await once(sink, 'exit');
  });
  const lines = createInterface({ input: sink.stdout });
  const client = createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
  for (const end = performance.now() + WAIT_MS; !(await client.verify().catch(() => false)); await pause(50)) {
    assert.ok(performance.now() < end, 'the sink does not listen');
  }

  const written = async (keySelector: string): Promise<string> => {
    const dkim = { domainName: 'example.test', keySelector, privateKey };
    const letter = { from: 'user@example.test', to: 'ada@example.org', subject: 'Hello', text: 'Pay 10 euros.\n' };
    const { message } = await createTransport({
      streamTransport: true,
      buffer: true,
      newline: 'windows',
      dkim,
    }).sendMail(letter);
    assert.ok(Buffer.isBuffer(message));
    return message.toString();
  };
  /** What the sink says of each signature. */
  const judged = async (raw: string): Promise<readonly string[]> => {
    const line = once(lines, 'line', { signal: AbortSignal.timeout(WAIT_MS) });
    await client.sendMail({ envelope: { from: 'user@example.test', to: ['ada@example.org'] }, raw });
    const { signatures } = JSON.parse(String((await line)[0])) as { signatures: readonly { result: string }[] };
    return signatures.map(({ result }) => result.replace(/ .*/, ''));
  };

  const signed = await written('s1');
  assert.deepEqual(await judged(signed), ['pass']);
  assert.deepEqual(await judged(signed.replace('Pay 10', 'Pay 99')), ['neutral']);
  assert.deepEqual(await judged(signed.replace('Subject: Hello', 'Subject: Other')), ['fail']);
  assert.deepEqual(await judged(await written('s2')), ['neutral'], 'nobody has published this key');
  assert.deepEqual(await judged(signed.replace(/^DKIM-Signature:.*\r\n(?:[ \t].*\r\n)*/, '')), []);

  sink.kill('SIGINT');
  assert.deepEqual(await once(sink, 'exit'), [0, null]);
});
