/**
 * A certificate that is due is renewed while the relay runs. The operator runs in this process, by a clock that the test
 * sets; folders, secrets, relay processes and TLS are real.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'node:tls';
import { openHost } from '../../operator/backends/host/host.ts';
import { CONTROLLERS } from '../../operator/controllers.ts';
import { runControllers } from '../../operator/runtime/run-controllers.ts';
import { domain, relay, userManifest } from '../harness/local-relay.ts';
import { NO_DNS } from '../harness/memory-backend.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts } from '../harness/standalone.ts';

const DAY_MS = 24 * 3_600_000;
const PROGRAM = join(import.meta.dirname, '../../cli/chasqui.ts');
/** Standard output is the test runner's: lines of replicas in between would spoil it. */
const QUIETLY = ['sh', '-c', 'exec "$@" >/dev/null', 'sh'] as const;
const DEADLINE_MS = 60_000;

test('the running relay serves the next certificate before the old one expires, and no session ends', async (t) => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  const submissions = relay({ port, submission, monitoring }).replace(
    `protocol: Submission, port: ${submission}`,
    `protocol: Submissions, port: ${submission}`,
  );
  // Certificates live 90 days and are due after 60. The first one is made as if that were almost over.
  const clock = { aheadMs: -60 * DAY_MS };
  const operator = await operate(
    t,
    () => Date.now() + clock.aheadMs,
    [submissions, domain(), userManifest].join('---'),
  );
  const ca = () => operator.read('secrets/default/app-smtp/ca.crt');
  await until('the credential is there', () => ca() !== '');
  const first = await until('a certificate is served', () => served(submission, ca()));
  await using session = await SmtpClient.connect(submission, { implicitTls: true });
  assert.match(await session.say('EHLO client.test'), /^250-/);
  const pids = operator.started();

  // The date of today: due now. The edit makes the operator look; else it would within the twelve hours of its timers.
  clock.aheadMs = 0;
  operator.edit((text) => text.replace('expireAfter: 10m', 'expireAfter: 11m'));
  const second = await until('another one is served', async () => {
    const next = await served(submission, ca());
    return next?.serial === first.serial ? undefined : next;
  });

  assert.ok(first.notAfterMs > Date.now(), 'the first one had not expired');
  assert.ok(second.notAfterMs > Date.now() + 89 * DAY_MS);
  assert.match(await session.say('NOOP'), /^250 /);
  assert.deepEqual(operator.started(), pids);
});

/** The operator on a host backend, as `chasqui standalone` wires them, by another clock. */
async function operate(t: TestContext, clock: () => number, text: string) {
  const root = mkdtempSync(join(tmpdir(), 'renewal-'));
  const manifest = join(root, 'manifests/all.yaml');
  mkdirSync(join(root, 'manifests'));
  writeFileSync(manifest, text);
  const lines: { readonly message: string; readonly pid?: unknown }[] = [];
  const say = (fields: object, message: string): void => void lines.push({ ...fields, message });
  const log = { debug: say, info: say, warn: say, error: say };
  const backend = openHost({
    manifests: join(root, 'manifests'),
    state: join(root, 'state'),
    listenAddress: '127.0.0.1',
    allowEmpty: false,
    program: [...QUIETLY, process.execPath, PROGRAM],
    log,
    stop: new AbortController().signal,
  });
  const controllers = await runControllers(backend, CONTROLLERS, clock, log, NO_DNS);
  t.after(async () => {
    await controllers.stop();
    rmSync(root, { recursive: true, force: true });
  });
  return {
    edit: (change: (text: string) => string) => writeFileSync(manifest, change(text)),
    started: () => lines.filter(({ message }) => message === 'replica started').map(({ pid }) => pid),
    read: (file: string): string => {
      try {
        return readFileSync(join(root, 'state', file), 'utf8');
      } catch {
        return '';
      }
    },
  };
}

/** What a client is shown that trusts only the CA of the Secret, and asks for localhost; undefined where nobody serves. */
async function served(port: number, ca: string): Promise<{ serial: string; notAfterMs: number } | undefined> {
  const socket = connect({ host: '127.0.0.1', port, ca, servername: 'localhost' });
  try {
    await once(socket, 'secureConnect');
    const { serialNumber, valid_to } = socket.getPeerCertificate();
    return { serial: serialNumber, notAfterMs: Date.parse(valid_to) };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return undefined;
    throw error;
  } finally {
    socket.destroy();
  }
}

async function until<Result>(
  what: string,
  look: () => Result | undefined | Promise<Result | undefined>,
): Promise<NonNullable<Result>> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  for (;;) {
    const result = await look();
    if (result) return result;
    if (performance.now() > deadlineMs) throw new Error(`never came: ${what}`);
    await pause(50);
  }
}
