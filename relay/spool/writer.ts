/** The writer thread: takes everything that waits, commits it as one group, answers, and looks again. */
import { isMainThread, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { DamagedDatabase, FailedSync, failureOf, type Outcome } from './group.ts';
import { isCorrupt } from './readable-rows.ts';
import type {
  Change,
  Failure,
  FromWriter,
  NewMessage,
  Numbered,
  Question,
  Request,
  Result,
  WriterOptions,
} from './requests.ts';
import { SpoolDamage, SpoolUnavailable } from './spool.ts';
import { type Log, Storage } from './storage.ts';

/** What one transaction takes at most. */
const GROUP_CHANGES = 512;
const GROUP_BYTES = 16 * 1024 * 1024;
const LOOK_MS = 1000;
/** Between slices of a few milliseconds. */
const CHECK_MS = 100;

if (isMainThread || !parentPort) throw new Error('relay/spool/writer.ts runs as a worker thread');
const port = parentPort;

function post(message: FromWriter): void {
  port.postMessage(message);
}

const log: Log = (level, message, fields = {}) => post({ kind: 'log', level, message, fields });

function serve(storage: Storage): void {
  const timer = setInterval(
    () =>
      guarded(storage, () => {
        storage.syncIds();
        storage.look();
        post({ kind: 'report', report: storage.report() });
      }),
    LOOK_MS,
  );
  timer.unref();
  const check = setInterval(
    () =>
      guarded(storage, () => {
        if (!storage.checkOn()) clearInterval(check);
      }),
    CHECK_MS,
  );
  check.unref();
  port.on('message', (first: readonly Numbered<Request>[]) => {
    guarded(storage, () => {
      const changes: Numbered<Change>[] = [];
      const questions: Numbered<Question>[] = [];
      let closing: number | undefined;
      for (const { ticket, value } of waiting(first)) {
        if (value.kind === 'close') closing = ticket;
        else if (isChange(value)) changes.push({ ticket, value });
        else questions.push({ ticket, value });
      }
      for (const group of groups(changes)) commit(storage, group);
      if (questions.length > 0) answer(storage, questions);
      if (closing === undefined) return;
      clearInterval(timer);
      clearInterval(check);
      storage.close();
      const results: Numbered<Result>[] = [{ ticket: closing, value: { ok: true, answer: undefined } }];
      post({ kind: 'results', results, messages: storage.messages });
    });
  });
}

/** After a failed fsync nothing may be done with the files, not even closing them: the process is about to end. */
let failed = false;

function guarded(storage: Storage, step: () => void): void {
  if (failed) return;
  try {
    step();
  } catch (error) {
    if (error instanceof DamagedDatabase) storage.markDamaged(error.message);
    else if (!(error instanceof FailedSync)) throw error;
    failed = true;
    post({ kind: 'fatal', message: error.message });
  }
}

/** What has arrived by now: while one group was synced, the next one gathered. */
function* waiting(first: readonly Numbered<Request>[]): Generator<Numbered<Request>> {
  yield* first;
  for (;;) {
    const next: { message: readonly Numbered<Request>[] } | undefined = receiveMessageOnPort(port);
    if (!next) return;
    yield* next.message;
  }
}

const CHANGES: ReadonlySet<string> = new Set<Change['kind']>([
  ...(['accept', 'record', 'park', 'hasten', 'requeue', 'reserve', 'steer'] as const),
  ...(['mark', 'adopt', 'finish', 'forget'] as const),
]);

function isChange(request: Change | Question): request is Change {
  return CHANGES.has(request.kind);
}

function* groups(changes: readonly Numbered<Change>[]): Generator<readonly Numbered<Change>[]> {
  let group: Numbered<Change>[] = [];
  let bytes = 0;
  for (const change of changes) {
    group.push(change);
    for (const message of messagesOf(change.value))
      bytes += message.body instanceof Uint8Array ? message.body.length : 0;
    if (group.length < GROUP_CHANGES && bytes < GROUP_BYTES) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

function messagesOf(change: Change): readonly NewMessage[] {
  if (change.kind === 'accept' || change.kind === 'adopt') return [change.message];
  return change.kind === 'record' ? change.spawned : [];
}

function commit(storage: Storage, group: readonly Numbered<Change>[]): void {
  const before = storage.failing;
  const outcomes = storage.commit(group.map(({ value }) => value));
  const results = group.map(({ ticket }, index) => ({ ticket, value: resultOf(outcomes[index]) }));
  // First, so that whoever hears of a failure finds it in the spool's health.
  if (storage.failing?.kind !== before?.kind) post({ kind: 'report', report: storage.report() });
  post({ kind: 'results', results, messages: storage.messages });
  storage.tidy(outcomes);
}

function resultOf(outcome: Outcome | undefined): Result {
  if (!outcome) return { ok: false, failure: { reason: 'refused', message: 'the change was left out of its group' } };
  return outcome.ok ? { ok: true, answer: outcome.applied.committed } : outcome;
}

function answer(storage: Storage, questions: readonly Numbered<Question>[]): void {
  const results = questions.map(({ ticket, value }): Numbered<Result> => {
    try {
      return { ticket, value: { ok: true, answer: storage.answer(value) } };
    } catch (error) {
      return { ticket, value: { ok: false, failure: failureOf(error) } };
    }
  });
  post({ kind: 'results', results, messages: storage.messages });
}

function openFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof SpoolDamage || isCorrupt(error)) return { reason: 'damage', message };
  if (error instanceof SpoolUnavailable) return { reason: 'unavailable', message };
  return failureOf(error);
}

const options: WriterOptions = workerData;
try {
  const storage = await Storage.open(options, log);
  serve(storage);
  post({ kind: 'opened', opened: storage.opened, report: storage.report() });
} catch (error) {
  post({ kind: 'failed', failure: openFailure(error) });
  port.close();
}
