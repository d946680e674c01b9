/** Postfix's own load generator and sink: some thousand messages in, each of them out once. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isOpen, NOBODY, needsSmtpSource } from '../harness/postfix.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { freePorts } from '../harness/standalone.ts';

const run = promisify(execFile);
/** As root, smtp-sink wants another user to run as. */
const isRoot = process.getuid?.() === 0;

/** smtp-sink, with each message in a file of its own. */
class Sink implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #child;

  private constructor(folder: string, port: number) {
    this.port = port;
    this.#folder = folder;
    const words = [...(isRoot ? ['-u', 'nobody'] : []), '-R', folder, '-d', '%M.', `127.0.0.1:${port}`, '1000'];
    this.#child = spawn('/usr/sbin/smtp-sink', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  static async start(): Promise<Sink> {
    const folder = await mkdtemp(join(tmpdir(), 'sink-'));
    if (isRoot) await chown(folder, NOBODY, NOBODY);
    await chmod(folder, 0o755);
    const [port = 0] = await freePorts(1);
    const sink = new Sink(folder, port);
    while (!(await isOpen(port))) {
      assert.equal(sink.#child.exitCode, null, 'smtp-sink has ended');
      await pause(50);
    }
    return sink;
  }

  /** What it was sent, each with the envelope as header fields on top. */
  async messages(): Promise<readonly string[]> {
    const names = await readdir(this.#folder);
    return await Promise.all(names.map((name) => readFile(join(this.#folder, name), 'utf8')));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit');
    if (this.#child.exitCode === null && this.#child.kill('SIGTERM')) await exited;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

const LOADS = [
  { title: 'a session per message, 20 at once', count: 1_500, words: ['-s', '20', '-l', '4096'] },
  { title: 'all messages in 20 sessions', count: 1_500, words: ['-s', '20', '-l', '4096', '-d'] },
  { title: '100 KiB each', count: 200, words: ['-s', '20', '-l', '102400', '-d'] },
  { title: 'ten recipients each', count: 300, words: ['-s', '20', '-l', '4096', '-r', '10'] },
] as const;

test(
  'what smtp-source sends under load comes out at smtp-sink, each message once and whole',
  needsSmtpSource,
  async (t) => {
    await using sink = await Sink.start();
    await using relay = await RelayProcess.start(sink.port);
    let before = 0;
    for (const { title, count, words } of LOADS) {
      await t.test(title, async () => {
        const where = ['-f', 'load@example.test', '-t', 'to@example.org', `127.0.0.1:${relay.port}`];
        // It ends with a status of its own at the first reply that it does not expect.
        await run('/usr/sbin/smtp-source', ['-m', String(count), ...words, ...where]);
        await relay.untilEmpty();
        const messages = await sink.messages();
        const ids = messages.map((message) => /^Message-Id: (.*)$/im.exec(message)?.[1]);
        assert.equal(messages.length - before, count);
        assert.equal(new Set(ids).size, messages.length);
        before = messages.length;
      });
    }
    const messages = await sink.messages();
    const recipients = messages.flatMap((message) => message.match(/^X-Rcpt-Args: /gm) ?? []);
    assert.equal(recipients.length, 1_500 + 1_500 + 200 + 300 * 10);
    const large = messages.filter((message) => message.length > 102_000);
    assert.equal(large.length, 200);
    assert.ok(messages.every((message) => message.match(/^DKIM-Signature:/gm)?.length === 2));
  },
);
