/**
 * Judges a trace of system calls (strace -f -y): was all that a reply promises on disk before the reply was written?
 *
 * The page cache survives a SIGKILL, so a test that kills a process cannot see a missing fsync; its system calls can.
 */
import path from 'node:path';

/** A call, with the lines at which it began and ended: calls of several threads overlap. */
interface Call {
  readonly name: string;
  readonly args: string;
  readonly result: string;
  readonly begun: number;
  readonly ended: number;
}

/** How a process talks about its messages. `file` is what is written to: `socket:[71]`, `pipe:[1]`. */
export interface Dialogue {
  /** The text promises the message that came before it. */
  readonly isReply: (text: string, file: string) => boolean;
  /** The text, written to where the reply will be, asks for a message; absent: each begins after the last reply. */
  readonly asksFor?: (text: string) => boolean;
}

export interface Verdict {
  /** For each reply, the names of the files whose data it promises. */
  readonly replies: readonly (readonly string[])[];
  readonly problems: readonly string[];
}

const WRITES = new Set(['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'sendto', 'sendmsg']);
const SYNCS = new Set(['fsync', 'fdatasync']);

/**
 * Of a process that takes one message at a time into the spool in `folder`, and replies to each. After a message was
 * asked for there must be a write to the WAL, and for every WAL and body file that was written since the last reply, a
 * sync of that file that began after its last write had ended and succeeded before the reply began; for every such file
 * that was made, the same of its folder.
 */
export function judgeTrace(trace: string, folder: string, { isReply, asksFor }: Dialogue): Verdict {
  const calls = callsOf(trace);
  const replies: string[][] = [];
  const problems: string[] = [];
  let from = 0;
  for (const reply of calls.filter((call) => WRITES.has(call.name) && isReply(textOf(call), pathOf(call.args)))) {
    const before = calls.filter(({ begun }) => begun >= from && begun < reply.begun);
    const writes = before.filter((call) => WRITES.has(call.name) && isData(pathOf(call.args), folder));
    const asked = before.findLast(
      (call) => WRITES.has(call.name) && pathOf(call.args) === pathOf(reply.args) && asksFor?.(textOf(call)),
    );
    const which = `reply ${replies.length + 1}`;
    if (asksFor && !asked) problems.push(`${which}: no message was asked for`);
    const promised = filesOf(writes.filter(({ begun }) => begun > (asked?.begun ?? -1)));
    if (!promised.some((file) => file.endsWith('-wal'))) problems.push(`${which}: nothing was written to the WAL`);
    for (const file of filesOf(writes)) {
      const lastWrite = Math.max(...writes.filter((call) => pathOf(call.args) === file).map(({ ended }) => ended));
      if (!isSynced(before, file, lastWrite, reply)) problems.push(`${which}: ${path.basename(file)} was not synced`);
    }
    for (const made of before.filter((call) => call.name === 'openat' && call.args.includes('O_CREAT'))) {
      const file = pathOf(made.result);
      if (!isData(file, folder) || isSynced(before, path.dirname(file), made.ended, reply)) continue;
      problems.push(`${which}: the folder of ${path.basename(file)} was not synced`);
    }
    replies.push(promised.map((file) => path.relative(folder, file)));
    from = reply.begun;
  }
  return { replies, problems };
}

/** A message that was answered 250: the queue id of the reply, and a text that its content has and no other. */
export interface Answered {
  readonly queueId: string;
  readonly mark: string;
}

/**
 * Of a process that takes many messages at once, small enough for rows: each must stand in the WAL, the transaction
 * that it stands in must be complete there, and a sync of the WAL that began after that must have succeeded before the
 * reply began. The calls have to be traced with their data whole.
 */
export function judgeLoad(trace: string, folder: string, messages: readonly Answered[]): readonly string[] {
  const calls = callsOf(trace);
  const wal = calls.filter(({ args }) => pathOf(args) === path.join(folder, 'queue.db-wal'));
  const writes = wal.filter(({ name }) => WRITES.has(name));
  const syncs = wal.filter(({ name, result }) => SYNCS.has(name) && result.trim() === '0');
  const answers = calls.filter((call) => WRITES.has(call.name) && pathOf(call.args).startsWith('socket:'));
  return messages.flatMap(({ queueId, mark }) => {
    const reply = answers.find(({ args }) => args.includes(`250 2.6.0 queued as ${queueId}\\r\\n`));
    if (!reply) return [`${queueId}: no reply`];
    const written = writes.findIndex(({ args }) => args.includes(mark));
    const commit = written < 0 ? -1 : writes.findIndex((call, index) => index >= written - 1 && isCommit(call));
    // The page of a frame is written behind its header.
    const end = commit < 0 ? undefined : writes[commit + 1];
    if (!end) return [`${queueId}: was never written`];
    const synced = syncs.some(({ begun, ended }) => begun > end.ended && ended < reply.begun);
    return synced ? [] : [`${queueId}: was answered before it was synced`];
  });
}

/** Whether a frame ends a transaction: the size of the database stands in its header, bytes 4 to 7 (SQLite, "WAL-File Format"). */
function isCommit(call: Call): boolean {
  if (!/, 24(?:, \d+)?$/.test(call.args)) return false;
  const [, , , , ...rest] = [...textOf(call).matchAll(/\\(?:([0-7]{1,3})|.)|[^\\]/g)];
  return rest.slice(0, 4).some(([character, octal]) => (octal ? Number.parseInt(octal, 8) !== 0 : character !== ''));
}

const filesOf = (writes: readonly Call[]): readonly string[] => [...new Set(writes.map(({ args }) => pathOf(args)))];

function isSynced(calls: readonly Call[], file: string, after: number, reply: Call): boolean {
  return calls.some(
    (call) =>
      SYNCS.has(call.name) &&
      pathOf(call.args) === file &&
      call.begun > after &&
      call.ended < reply.begun &&
      call.result.trim() === '0',
  );
}

/** The WAL and the bodies are what a message consists of; the database file only takes over what the WAL has. */
function isData(file: string, folder: string): boolean {
  return file === path.join(folder, 'queue.db-wal') || path.dirname(file) === path.join(folder, 'bodies');
}

/** Path of the first descriptor: `19</spool/queue.db-wal>`. */
function pathOf(text: string): string {
  return /^\s*\d+<([^>]*)>/.exec(text)?.[1] ?? '';
}

/** First string among the arguments, as strace prints it. */
function textOf(call: Call): string {
  return /"((?:[^"\\]|\\.)*)"/.exec(call.args)?.[1] ?? '';
}

function callsOf(trace: string): readonly Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, { readonly name: string; readonly args: string; readonly begun: number }>();
  for (const [line, text] of trace.split('\n').entries()) {
    const whole = /^(\d+)\s+(\w+)\((.*)\)\s+= (.*)$/.exec(text);
    if (whole) {
      const [, , name = '', args = '', result = ''] = whole;
      calls.push({ name, args, result, begun: line, ended: line });
      continue;
    }
    const begin = /^(\d+)\s+(\w+)\((.*?)\s*<unfinished \.\.\.>$/.exec(text);
    if (begin) {
      const [, thread = '', name = '', args = ''] = begin;
      unfinished.set(thread, { name, args, begun: line });
      continue;
    }
    const end = /^(\d+)\s+<\.\.\. \w+ resumed>(.*)\)\s+= (.*)$/.exec(text);
    const [, thread = '', rest = '', result = ''] = end ?? [];
    const started = unfinished.get(thread);
    if (!end || !started) continue;
    unfinished.delete(thread);
    calls.push({ ...started, args: started.args + rest, result, ended: line });
  }
  return calls.sort((one, other) => one.begun - other.begun);
}
