import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decide, restartDelayMs, type Slot, type Wanted } from './supervision.ts';

const NOW = 1_000_000;
const wanted = (change: Partial<Wanted> = {}): Wanted => ({
  replicas: 2,
  portsBound: true,
  drainTimeoutMs: 600_000,
  ...change,
});
const process = { drained: false, stopping: false };
const slot = (ordinal: number, change: Partial<Slot> = {}): Slot => ({
  ordinal,
  startAfterMs: 0,
  emptied: false,
  ...change,
});
const runs = (ordinal: number, change: Partial<typeof process> = {}, rest: Partial<Slot> = {}): Slot =>
  slot(ordinal, { process: { ...process, ...change }, ...rest });
const since = (agoMs: number, stopped = false) => ({ drain: { sinceMs: NOW - agoMs, stopped } });

const cases: readonly {
  readonly it: string;
  readonly wanted?: Partial<Wanted>;
  readonly slots: readonly Slot[];
  readonly steps: readonly string[];
  readonly againMs?: number;
}[] = [
  { it: 'starts all replicas at first', slots: [slot(0), slot(1)], steps: ['start 0', 'start 1'] },
  { it: 'leaves what is wanted and runs alone', slots: [runs(0), runs(1)], steps: [] },
  { it: 'starts none while a port cannot be had', wanted: { portsBound: false }, slots: [slot(0)], steps: [] },
  {
    it: 'starts a dead replica when its time has come',
    slots: [slot(0, { startAfterMs: NOW + 4_000 }), slot(1, { startAfterMs: NOW })],
    steps: ['start 1'],
    againMs: 4_000,
  },
  {
    it: 'lets a replica that is no longer wanted go on until it is drained',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1)],
    steps: ['drain 1'],
    againMs: 600_000,
  },
  {
    it: 'ends it when it is drained',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1, { drained: true }, since(5_000))],
    steps: ['terminate 1'],
  },
  {
    it: 'ends it only after those above it, which may have mail that only it can take',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1, { drained: true }, since(5_000)), runs(2, {}, since(5_000))],
    steps: [],
    againMs: 595_000,
  },
  {
    it: 'ends the highest first',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1, { drained: true }, since(5_000)), runs(2, { drained: true }, since(5_000))],
    steps: ['terminate 2'],
    againMs: 595_000,
  },
  {
    it: 'ends it when its time is over, whatever it holds',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1, {}, since(600_000))],
    steps: ['terminate 1'],
  },
  {
    it: 'waits for it once it is told to end',
    wanted: { replicas: 1 },
    slots: [runs(0), runs(1, { drained: true, stopping: true }, since(600_000))],
    steps: [],
  },
  { it: 'leaves a drained one alone', wanted: { replicas: 1 }, slots: [runs(0), slot(1, since(9e9, true))], steps: [] },
  {
    it: 'takes up a drain that was interrupted, within the time that is left',
    wanted: { replicas: 1 },
    slots: [runs(0), slot(1, since(500_000))],
    steps: ['start 1'],
  },
  {
    it: 'takes up a spool that nobody drained',
    wanted: { replicas: 1 },
    slots: [runs(0), slot(1)],
    steps: ['drain 1', 'start 1'],
  },
  {
    it: 'gives up an interrupted drain whose time is over',
    wanted: { replicas: 1 },
    slots: [runs(0), slot(1, since(600_001))],
    steps: ['settle 1'],
  },
  {
    it: 'settles one that ended with nothing in its spool',
    wanted: { replicas: 1 },
    slots: [runs(0), slot(1, { ...since(5_000), emptied: true })],
    steps: ['settle 1'],
  },
  {
    it: 'starts a drained one that is wanted again, on the spool it left',
    slots: [runs(0), slot(1, since(5_000, true))],
    steps: ['resume 1', 'start 1'],
  },
  { it: 'keeps a draining one that is wanted again', slots: [runs(0), runs(1, {}, since(5_000))], steps: ['resume 1'] },
];

for (const { it, wanted: change, slots, steps, againMs } of cases) {
  test(`supervision ${it}`, () => {
    const decision = decide(wanted(change), slots, NOW);
    assert.deepEqual(
      decision.steps.map(({ step, ordinal }) => `${step} ${ordinal}`),
      steps,
    );
    assert.equal(decision.againMs, againMs);
  });
}

test('a replica that dies again and again is started after 0, 1, 2, 4, ... and at most 30 seconds', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 8, 1000].map((failures) => restartDelayMs(failures) / 1000),
    [0, 1, 2, 4, 8, 16, 30, 30, 30],
  );
});
