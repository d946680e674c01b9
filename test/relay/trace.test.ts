import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeLoad, judgeTrace } from './trace.ts';

const ACCEPTED = [
  '10 openat(AT_FDCWD, "/q/bodies/A1", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 20</q/bodies/A1>',
  '11 write(20</q/bodies/A1>, "Subject: x"..., 65536 <unfinished ...>',
  '12 pwrite64(18</q/queue.db>, "checkpoint", 10, 0) = 10',
  '11 <... write resumed>) = 65536',
  '11 fdatasync(20</q/bodies/A1> <unfinished ...>',
  '12 pwrite64(17</q/ids.json>, "ids", 3, 0) = 3',
  '11 <... fdatasync resumed>) = 0',
  '10 fsync(15</q/bodies>) = 0',
  '12 pwrite64(19</q/queue.db-wal>, "\\1\\2"..., 16384, 56) = 16384',
  '12 fsync(19</q/queue.db-wal>) = 0',
  '10 writev(1<pipe:[1]>, [{iov_base="250 2.0.0 queued as A1\\r\\n", iov_len=24}], 1) = 24',
];

const DRIVER = { isReply: (text: string) => text.startsWith('250 ') };
const problemsOf = (lines: readonly string[]) => judgeTrace(lines.join('\n'), '/q', DRIVER).problems;

/** The trace without a line, or with another in its place. */
function changed(from: RegExp, ...to: string[]): string[] {
  assert.equal(ACCEPTED.filter((line) => from.test(line)).length, 1, String(from));
  return ACCEPTED.flatMap((line) => (from.test(line) ? to : [line]));
}

test('a reply after the sync of all that it promises is well', () => {
  assert.deepEqual(judgeTrace(ACCEPTED.join('\n'), '/q', DRIVER), {
    replies: [['bodies/A1', 'queue.db-wal']],
    problems: [],
  });
});

const WAL_SYNC = '12 fsync(19</q/queue.db-wal>) = 0';
const wrong: [string, string[], string][] = [
  ['no sync of the WAL', changed(/fsync\(19/), 'queue.db-wal was not synced'],
  [
    'a sync of the WAL that failed',
    changed(/fsync\(19/, '12 fsync(19</q/queue.db-wal>) = -1 EIO (x)'),
    'queue.db-wal was not synced',
  ],
  [
    'a write to the WAL after its sync',
    changed(/fsync\(19/, WAL_SYNC, '12 pwrite64(19</q/queue.db-wal>, "x", 1, 0) = 1'),
    'queue.db-wal was not synced',
  ],
  ['a sync after the reply', [...changed(/fsync\(19/), WAL_SYNC], 'queue.db-wal was not synced'],
  [
    'a sync that the reply overtakes',
    [...changed(/fsync\(19/, '12 fsync(19</q/queue.db-wal> <unfinished ...>'), '12 <... fsync resumed>) = 0'],
    'queue.db-wal was not synced',
  ],
  ['a sync of another file', changed(/fsync\(19/, '12 fsync(18</q/queue.db>) = 0'), 'queue.db-wal was not synced'],
  ['nothing written', changed(/queue.db-wal>, /), 'nothing was written to the WAL'],
  [
    'a body that is not synced',
    changed(/fdatasync\(20/).filter((line) => !line.includes('fdatasync resumed')),
    'A1 was not synced',
  ],
  [
    'a body whose sync begins before its write ended',
    [
      ...ACCEPTED.slice(0, 2),
      '13 fdatasync(20</q/bodies/A1>) = 0',
      ...ACCEPTED.slice(2).filter((line) => !line.includes('fdatasync')),
    ],
    'A1 was not synced',
  ],
  ['a folder that is not synced', changed(/fsync\(15/), 'the folder of A1 was not synced'],
];

for (const [name, lines, problem] of wrong) {
  test(`found: ${name}`, () => {
    assert.deepEqual(problemsOf(lines), [`reply 1: ${problem}`]);
  });
}

test('each reply stands for itself: the sync of one does not speak for the next', () => {
  const second = ['12 pwrite64(19</q/queue.db-wal>, "x", 1, 0) = 1', '10 write(1<pipe:[1]>, "250 A2\\n", 7) = 7'];
  assert.deepEqual(problemsOf([...ACCEPTED, ...second]), ['reply 2: queue.db-wal was not synced']);
});

const SERVER = {
  isReply: (text: string, file: string) => file.startsWith('socket:') && text.startsWith('250 2.6.0 '),
  asksFor: (text: string) => text.startsWith('354 '),
};
const ask = (socket: number) => `10 write(25<socket:[${socket}]>, "354 end data"..., 37) = 37`;
const accept = (socket: number) => `10 write(25<socket:[${socket}]>, "250 2.6.0 queu"..., 33) = 33`;
const served = (...lines: readonly string[]) => judgeTrace(lines.join('\n'), '/q', SERVER);

test('of a server, what was written for another purpose before a message was asked for is not the message', () => {
  const wal = ACCEPTED.filter((line) => line.includes('queue.db-wal'));
  assert.deepEqual(served(ask(7), ...wal, accept(7)), { replies: [['queue.db-wal']], problems: [] });
  assert.deepEqual(served(...wal, ask(7), accept(7)).problems, ['reply 1: nothing was written to the WAL']);
  assert.deepEqual(served(...wal, ask(8), ...wal, accept(7)).problems, ['reply 1: no message was asked for']);
});

test('of a server, what the log says is no reply', () => {
  assert.deepEqual(served(ask(7), '10 write(1<pipe:[1]>, "250 2.6.0 queued"..., 24) = 24').replies, []);
});

const header = (commit: boolean) =>
  `12 pwrite64(19</q/queue.db-wal>, "\\0\\0\\0\\3\\0\\0${commit ? '\\1I' : '\\0\\0'}abc", 24, 0) = 24`;
const frame = (text: string) => `12 pwrite64(19</q/queue.db-wal>, "\\r\\0${text}\\0", 16384, 24) = 16384`;
const queued = (id: string) => `10 write(25<socket:[7]>, "250 2.6.0 queued as ${id}\\r\\n", 28) = 28`;
const A = { queueId: 'A', mark: 'mark-a-' };
const B = { queueId: 'B', mark: 'mark-b-' };
const loaded = (...lines: readonly string[]) => judgeLoad(lines.join('\n'), '/q', [A, B]);
const A_AND_B = [header(false), frame('mark-a-'), header(true), frame('mark-b-')];

test('under load, one sync speaks for all messages whose transactions were complete when it began', () => {
  assert.deepEqual(loaded(...A_AND_B, WAL_SYNC, queued('B'), queued('A')), []);
});

test('under load, it speaks for no transaction that was not, nor for a message that came later', () => {
  const early = [header(false), frame('mark-a-'), WAL_SYNC, queued('A'), header(true), frame('mark-b-')];
  assert.deepEqual(loaded(...early, WAL_SYNC, queued('B')), ['A: was answered before it was synced']);
  const late = [header(true), frame('mark-a-'), WAL_SYNC, queued('A'), header(true), frame('mark-b-'), queued('B')];
  assert.deepEqual(loaded(...late), ['B: was answered before it was synced']);
  const during = ['12 fsync(19</q/queue.db-wal> <unfinished ...>', queued('A'), '12 <... fsync resumed>) = 0'];
  assert.deepEqual(loaded(...A_AND_B, ...during, queued('B')), ['A: was answered before it was synced']);
  assert.deepEqual(loaded(header(true), frame('mark-a-'), WAL_SYNC, queued('A'), queued('B')), [
    'B: was never written',
  ]);
});
