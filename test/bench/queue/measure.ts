/**
 * What a long queue costs: memory of a replica at its peak, time from its start to the first delivery, and the rates at
 * which mail comes in and goes out, beside those of a short queue in the same run.
 *
 *     node test/bench/queue/measure.ts [--messages N] [--folder DIR] [--profile]
 *
 * About 6.6 GB for a million messages, under DIR, removed at the end.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Replica } from './replica.ts';
import { Sink } from './sink.ts';
import { submit } from './submit.ts';

const FILL = join(import.meta.dirname, 'fill.ts');
/** The short queue: enough to measure how fast it goes. */
const SHORT = 10_000;
/** Deliveries over which the rate is measured: the short queue has more that are due. */
const DELIVERIES = 10_000;
const SUBMITTED = 10_000;
/** After the rates: for the peak of memory. */
const WATCHED_MS = 20_000;

interface Figures {
  readonly fillSeconds: number;
  readonly gigabytes: number;
  readonly startedMs: number;
  readonly firstDeliveryMs: number;
  readonly dequeued: number;
  readonly dequeueCpuMs: number;
  readonly enqueued: number;
  readonly peakMiB: number;
  readonly lookedThroughMs: number;
  readonly lookedThroughPeakMiB: number;
  readonly freeMB: number;
  readonly grownMB: number;
  readonly enqueuePeakMiB: number;
}

async function measure(folder: string, messages: number, options: string): Promise<Figures> {
  const root = join(folder, `queue-${messages}`);
  await mkdir(root, { recursive: true });
  try {
    const fillSeconds = await fill(join(root, 'spool'), messages);
    const { size } = await stat(join(root, 'spool', 'queue.db'));
    const out = await goesOut(root, options);
    process.stderr.write(`${JSON.stringify(out)}\n`);
    const drained = room(root);
    const into = await comesIn(root);
    const grownMB = room(root).megabytes - drained.megabytes;
    return { fillSeconds, gigabytes: size / 1e9, ...out, ...into, freeMB: drained.freeMB, grownMB };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Size of the database, and what of it is free to be used again. */
function room(root: string): { readonly megabytes: number; readonly freeMB: number } {
  using database = new DatabaseSync(join(root, 'spool', 'queue.db'));
  const pages = (pragma: string): number => Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  const megabytes = (count: number): number => (count * pages('page_size')) / 1e6;
  return { megabytes: megabytes(pages('page_count')), freeMB: megabytes(pages('freelist_count')) };
}

async function fill(spool: string, messages: number): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, [FILL, spool, String(messages)], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [, signal] = await once(child, 'exit');
  if (signal !== 'SIGKILL') throw new Error('the spool was not filled');
  return (performance.now() - began) / 1000;
}

async function goesOut(root: string, options: string) {
  await using sink = await Sink.start();
  const began = performance.now();
  await using replica = await Replica.spawn(root, sink.port, options);
  const taken = async (count: number): Promise<number> => {
    while (sink.taken < count) await once(sink.changed, 'taken');
    return performance.now();
  };
  const [started, first] = await Promise.all([replica.started().then(() => performance.now()), taken(1)]);
  const cpu = replica.cpuSeconds();
  const before = sink.taken;
  const watched = replica.watchFor(WATCHED_MS);
  const since = performance.now();
  const seconds = ((await taken(before + DELIVERIES)) - since) / 1000;
  const dequeueCpuMs = ((replica.cpuSeconds() - cpu) * 1000) / DELIVERIES;
  await watched;
  const peakMiB = replica.peakMiB();
  const lookedThroughMs = await replica.lookedThrough();
  const lookedThroughPeakMiB = replica.peakMiB();
  await replica.stop('SIGTERM');
  return {
    startedMs: started - began,
    firstDeliveryMs: first - began,
    dequeued: DELIVERIES / seconds,
    dequeueCpuMs,
    peakMiB,
    lookedThroughMs,
    lookedThroughPeakMiB,
  };
}

/** The sink says nothing meanwhile, so that nothing goes out: what comes in has the machine to itself. */
async function comesIn(root: string) {
  await using sink = await Sink.start();
  sink.silent = true;
  await using replica = await Replica.spawn(root, sink.port);
  await replica.started();
  await pause(2_000);
  const enqueued = await submit(replica.port, SUBMITTED);
  return { enqueued, enqueuePeakMiB: replica.peakMiB() };
}

function report(short: Figures, long: Figures, messages: number): void {
  const rows: readonly [string, (figures: Figures) => string][] = [
    ['filled in, s', ({ fillSeconds }) => fillSeconds.toFixed(0)],
    ['database, GB', ({ gigabytes }) => gigabytes.toFixed(2)],
    ['takes mail after, s', ({ startedMs }) => (startedMs / 1000).toFixed(2)],
    ['first delivery after, s', ({ firstDeliveryMs }) => (firstDeliveryMs / 1000).toFixed(2)],
    ['goes out, deliveries/s', ({ dequeued }) => dequeued.toFixed(0)],
    ['CPU, ms a delivery', ({ dequeueCpuMs }) => dequeueCpuMs.toFixed(2)],
    ['comes in, messages/s', ({ enqueued }) => enqueued.toFixed(0)],
    ['peak while it delivers, MiB', ({ peakMiB }) => peakMiB.toFixed(0)],
    ['all of it counted and searched in, s', ({ lookedThroughMs }) => (lookedThroughMs / 1000).toFixed(2)],
    ['peak after that, MiB', ({ lookedThroughPeakMiB }) => lookedThroughPeakMiB.toFixed(0)],
    ['free in the database after the deliveries, MB', ({ freeMB }) => freeMB.toFixed(0)],
    [`database grew by, MB, for ${SUBMITTED} messages more`, ({ grownMB }) => grownMB.toFixed(1)],
    ['peak while mail comes in, MiB', ({ enqueuePeakMiB }) => enqueuePeakMiB.toFixed(0)],
  ];
  process.stdout.write(`| | ${SHORT} messages | ${messages} messages |\n|---|---|---|\n`);
  for (const [name, figure] of rows) process.stdout.write(`| ${name} | ${figure(short)} | ${figure(long)} |\n`);
}

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    folder: { type: 'string' },
    /** Writes CPU profiles of the replica into this folder. */
    profile: { type: 'string' },
  },
});
const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'bench-queue-')));
const options = values.profile === undefined ? '' : `--cpu-prof --cpu-prof-dir=${values.profile}`;
const short = await measure(folder, SHORT, '');
process.stdout.write(`${JSON.stringify(short)}\n`);
const long = await measure(folder, Number(values.messages), options);
report(short, long, Number(values.messages));
if (values.folder === undefined) await rm(folder, { recursive: true, force: true });
