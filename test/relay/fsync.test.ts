import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSpool } from '../../relay/spool/open.ts';
import { needsStrace } from '../harness/strace.ts';
import { contentOf, FATAL } from './spool-driver.ts';
import { judgeTrace } from './trace.ts';

const DRIVER = fileURLToPath(new URL('./spool-driver.ts', import.meta.url));
const isReply = (reply: string) => reply.startsWith('250 ');
const DIALOGUE = { isReply };
const SMALL = 4096;
const LARGE = 700_000;

interface Run {
  readonly folder: string;
  readonly trace: string;
  readonly code: number | null;
  readonly replies: readonly string[];
  readonly stderr: string;
}

/** Runs the driver, one session, under strace; `inject` lets system calls fail, in strace's own words. */
async function traced(t: TestContext, bytes: number, messages: number, ...inject: string[]): Promise<Run> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fsync-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const spoolFolder = path.join(folder, 'spool');
  const traceFile = path.join(folder, 'trace');
  const calls = 'trace=openat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync';
  const child = spawn(
    'strace',
    // -P would miss files that do not exist yet, so everything is traced and the judge chooses.
    [
      '-f',
      '-y',
      '-s',
      '32',
      '-o',
      traceFile,
      '-e',
      calls,
      ...inject.flatMap((rule) => ['-e', `inject=${rule}`]),
    ].concat([process.execPath, DRIVER, spoolFolder, String(bytes), '1', String(messages)]),
    // File system calls through io_uring would not be seen.
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, UV_USE_IO_URING: '0' } },
  );
  const exit = once(child, 'exit');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code]: (number | null)[] = await exit;
  return {
    folder: spoolFolder,
    trace: readFileSync(traceFile, 'utf8'),
    code: code ?? null,
    replies: stdout.split('\n').filter((line) => line !== ''),
    stderr,
  };
}

/** Every message that got its 250 is there whole, unless it was finished. */
async function assertKept({ folder, replies }: Run, bytes: number): Promise<void> {
  const spool = await openSpool({
    folder,
    lockWaitMs: 10_000,
    log: () => undefined,
    onFatal: (error) => assert.fail(`fatal: ${error.message}`),
    now: Date.now,
  });
  const finished = new Set(replies.flatMap((line) => line.match(/^finishing (.*)/)?.[1] ?? []));
  for (const queueId of replies.flatMap((line) => line.match(/^250 (.*)/)?.[1] ?? [])) {
    if (finished.has(queueId)) continue;
    const { data } = await spool.read(queueId);
    const content = Buffer.isBuffer(data) ? data : await buffer(data.open());
    assert.ok(content.equals(contentOf(queueId, bytes)), queueId);
  }
  const { messages } = await spool.stats();
  await spool.close();
  assert.equal(readdirSync(path.join(folder, 'bodies')).length, bytes === LARGE ? messages : 0);
}

for (const [size, bytes] of Object.entries({ small: SMALL, large: LARGE })) {
  test(`a ${size} message and the folder of each new file are synced before the 250`, needsStrace, async (t) => {
    const { folder, trace, code, stderr } = await traced(t, bytes, 5);
    assert.equal(code, 0, stderr);
    const { replies, problems } = judgeTrace(trace, folder, DIALOGUE);
    assert.deepEqual(problems, []);
    assert.equal(replies.length, 5);
    for (const files of replies) {
      assert.ok(files.includes('queue.db-wal'), String(files));
      assert.equal(
        files.some((file) => file.startsWith('bodies/')),
        bytes === LARGE,
      );
    }

    const syncOf = (name: RegExp) => (line: string) => /f(data)?sync\(/.test(line) && name.test(line);
    const without = (name: RegExp) => {
      const lines = trace.split('\n');
      const left = lines.filter((line) => !syncOf(name)(line));
      assert.ok(left.length < lines.length);
      return judgeTrace(left.join('\n'), folder, DIALOGUE).problems;
    };
    assert.equal(without(/queue\.db-wal>/).length, 5, 'the judge sees it when the WAL is not synced');
    if (bytes !== LARGE) return;
    assert.equal(without(/bodies\/[^>]+>/).length, 5, 'the judge sees it when bodies are not synced');
    assert.equal(without(/bodies>/).length, 5, 'the judge sees it when their folder is not synced');
  });
}

test('a failed fsync of the WAL ends the process, with no 250 for what was not synced', needsStrace, async (t) => {
  const run = await traced(t, SMALL, 50, 'fsync:error=EIO:when=20+');
  assert.equal(run.code, FATAL, run.stderr);
  assert.match(run.stderr, /fsync of the queue failed/);
  const acknowledged = run.replies.filter(isReply).length;
  assert.ok(acknowledged > 0 && acknowledged < 50, `${acknowledged} of 50`);
  assert.deepEqual(judgeTrace(run.trace, run.folder, DIALOGUE).problems, []);
  await assertKept(run, SMALL);
});

test('a failed fsync of a body ends the process, with no 250 for it', needsStrace, async (t) => {
  const run = await traced(t, LARGE, 20, 'fdatasync:error=EIO:when=3+');
  assert.equal(run.code, FATAL, run.stderr);
  assert.match(run.stderr, /fsync of a message body failed/);
  assert.ok(run.replies.filter(isReply).length < 20);
  assert.deepEqual(judgeTrace(run.trace, run.folder, DIALOGUE).problems, []);
  await assertKept(run, LARGE);
});

for (const [size, bytes] of Object.entries({ small: SMALL, large: LARGE })) {
  test(
    `a disk too full for ${size} messages is answered 451, and mail is taken again when there is room`,
    needsStrace,
    async (t) => {
      const run = await traced(t, bytes, 40, 'pwrite64:error=ENOSPC:when=120..135');
      assert.equal(run.code, 0, run.stderr);
      const codes = run.replies.map((line) => line.slice(0, 3)).join(' ');
      assert.match(codes, /250.* 451.* 250/);
      await assertKept(run, bytes);
    },
  );
}
