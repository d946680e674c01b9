/**
 * The whole relay under strace: no message is answered 250 before it is on disk. The page cache survives a SIGKILL, so
 * this is what shows a sync that is missing.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Destination } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { needsStrace } from '../harness/strace.ts';
import { type Answered, judgeLoad, judgeTrace, type Verdict } from './trace.ts';

const SMALL = 4_096;
/** Over the 256 KiB that fit a row. */
const LARGE = 300_000;
const CALLS = 'trace=openat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync';

const SMTP = {
  isReply: (text: string, file: string) => file.startsWith('socket:') && text.startsWith('250 2.6.0 queued as '),
  asksFor: (text: string) => text.startsWith('354 '),
};

interface Run {
  readonly trace: string;
  readonly spool: string;
}

/**
 * Sends messages of a size, each when the one before it was delivered, so that nothing else is written meanwhile.
 * @param inject lets system calls fail, in strace's own words
 */
async function traced(t: TestContext, bytes: number, messages: number, ...inject: string[]): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'trace-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'trace');
  const rules = inject.flatMap((rule) => ['-e', `inject=${rule}`]);
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port, [
    ...['strace', '-f', '-y', '-s', '32', '-o', file, '-e', CALLS, ...rules, '--'],
  ]);
  await using client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250-']);
  for (let number = 1; number <= messages; number++) {
    await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<ann@dest.test>', '250 '], ['DATA', '354 ']);
    assert.match(await client.content(content(bytes)), /^250 2\.6\.0 queued as /);
    await relay.logged('delivered', ({ event }) => event === 'delivered', number);
  }
  relay.terminate();
  assert.equal(await relay.ended(), 0);
  assert.equal(destination.messages.length, messages);
  return { trace: readFileSync(file, 'utf8'), spool: relay.spool };
}

const content = (bytes: number): string =>
  `From: <app@example.test>\r\n\r\n${'A line of some text.\r\n'.repeat(Math.ceil(bytes / 22))}`;

const verdictOf = ({ trace, spool }: Run): Verdict => judgeTrace(trace, spool, SMTP);

for (const [size, bytes] of Object.entries({ small: SMALL, large: LARGE })) {
  test(`a ${size} message is synced before its 250 is written to the client`, needsStrace, async (t) => {
    const { replies, problems } = verdictOf(await traced(t, bytes, 5));
    assert.deepEqual(problems, []);
    const files = bytes === LARGE ? ['body', 'queue.db-wal'] : ['queue.db-wal'];
    assert.deepEqual(
      replies.map((names) => names.map((name) => name.replace(/^bodies\/.+/, 'body'))),
      Array.from({ length: 5 }, () => files),
    );
  });
}

test('a relay whose fsync does nothing is found out', needsStrace, async (t) => {
  const { problems } = verdictOf(await traced(t, SMALL, 3, 'fsync:retval=0'));
  for (const number of [1, 2, 3]) {
    assert.ok(problems.includes(`reply ${number}: queue.db-wal was not synced`), problems.join('\n'));
  }
});

test('a relay whose sync of bodies does nothing is found out', needsStrace, async (t) => {
  const { problems } = verdictOf(await traced(t, LARGE, 3, 'fdatasync:retval=0'));
  assert.deepEqual(
    problems.map((problem) => problem.replace(/: \w+ was/, ': BODY was')),
    [1, 2, 3].map((number) => `reply ${number}: BODY was not synced`),
  );
});

const CLIENTS = 20;
const EACH = 15;
/** Frames of the WAL whole: a page, each byte of it as up to four characters. */
const LOAD = ['-s', '20000', '-e', 'trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync'];

/** Sends by many clients at once, none of which waits for the others; tells what was answered before what was on disk. */
async function underLoad(t: TestContext, ...inject: string[]): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'trace-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'trace');
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port, [
    ...['strace', '-f', '--seccomp-bpf', '-y', '-o', file, ...LOAD, ...inject.flatMap((rule) => ['-e', rule]), '--'],
  ]);
  const send = async (_: unknown, client: number): Promise<readonly Answered[]> => {
    await using session = await SmtpClient.connect(relay.port);
    await session.talk(['EHLO client.test', '250-']);
    const answered: Answered[] = [];
    for (let number = 0; number < EACH; number++) {
      const mark = `mark-${client}-${number}-`;
      await session.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<a@dest.test>', '250 '], ['DATA', '354 ']);
      const reply = await session.content(`From: <app@example.test>\r\n\r\n${mark}\r\n${'text\r\n'.repeat(600)}`);
      const queueId = /^250 2\.6\.0 queued as (\S+)/.exec(reply)?.[1] ?? assert.fail(reply);
      answered.push({ queueId, mark });
    }
    return answered;
  };
  const answered = (await Promise.all(Array.from({ length: CLIENTS }, send))).flat();
  assert.equal(answered.length, CLIENTS * EACH);
  await relay.untilEmpty();
  relay.terminate();
  assert.equal(await relay.ended(), 0);
  return judgeLoad(readFileSync(file, 'utf8'), relay.spool, answered);
}

test(
  `none of ${CLIENTS * EACH} messages of ${CLIENTS} clients is answered before it is synced`,
  needsStrace,
  async (t) => {
    assert.deepEqual(await underLoad(t), []);
  },
);

test('a relay whose fsync does nothing is found out under load, too', needsStrace, async (t) => {
  const problems = await underLoad(t, 'inject=fsync:retval=0');
  assert.equal(problems.length, CLIENTS * EACH);
  for (const problem of problems) assert.match(problem, /: was answered before it was synced$/);
});
