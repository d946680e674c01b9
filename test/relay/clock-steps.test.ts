/**
 * The time of day is set while mail waits, and while no relay runs: nothing is lost or given up for it, attempts keep to
 * the schedule, and no failure is told twice. The relay is the real one, on a clock that the test sets.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { at, Destination } from '../harness/destination.ts';
import { queueIdIn } from '../harness/outbound.ts';
import { type RelayLine, RelayProcess } from '../harness/relay-process.ts';
import { relayWith } from '../harness/relay-program.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;
/** Between attempts, as in the schedule; and how late the next one may be on a busy machine. */
const WAIT_MS = 1_000;
const LATE_MS = 10_000;

interface Scene {
  readonly destination: Destination;
  readonly relay: RelayProcess;
  /** What is added to the time of day. */
  readonly setClock: (offsetMs: number) => void;
  readonly restart: () => Promise<void>;
}

/** A relay and a destination that defers all mail but notices. */
async function scene(t: TestContext, expireAfter: string): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'clock-'));
  const clock = join(folder, 'clock');
  const setClock = (offsetMs: number): void => {
    writeFileSync(`${clock}.new`, String(offsetMs));
    renameSync(`${clock}.new`, clock);
  };
  setClock(0);
  const destination = await Destination.start({ react: at('rcpt', '450 4.2.1 Busy', 'ada@') });
  const wrap = relayWith({ clock });
  const route = {
    match: { domains: ['*'] },
    smarthosts: [{ host: '127.0.0.1', port: destination.port, tls: { mode: 'Disabled' as const } }],
  };
  const relay = await RelayProcess.start(destination.port, wrap, {
    routes: [route],
    retry: { schedule: [`${WAIT_MS / 1_000}s`], expireAfter },
  });
  t.after(async () => {
    await relay[Symbol.asyncDispose]();
    await destination[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });
  return {
    destination,
    relay,
    setClock,
    async restart() {
      relay.terminate();
      assert.equal(await relay.ended(), 0);
      await relay.run(wrap);
    },
  };
}

async function send({ relay }: Scene): Promise<string> {
  await using client = await SmtpClient.connect(relay.port);
  await client.talk(['EHLO client.test', '250-'], ['MAIL FROM:<app@example.test>', '250 ']);
  await client.talk(['RCPT TO:<ada@dest.test>', '250 '], ['DATA', '354 ']);
  return queueIdIn(await client.content('From: app@example.test\r\n\r\nHello.\r\n'));
}

const attemptsOf = (relay: RelayProcess, queueId: string): readonly RelayLine[] =>
  relay.lines().filter((line) => line.queueId === queueId && line.attempts !== undefined);

const attempted = (relay: RelayProcess, queueId: string, count: number): Promise<void> =>
  relay.logged(`attempt ${count}`, (line) => line.queueId === queueId && (line.attempts ?? 0) >= count);

/** The log's own times are those of the machine. */
const gaps = (lines: readonly RelayLine[]): readonly number[] =>
  lines.slice(1).map(({ time }, index) => Date.parse(time ?? '') - Date.parse(lines[index]?.time ?? ''));

describe('with the clock', { concurrency: 3 }, () => {
  for (const [step, ms] of [
    ['forward a day', DAY],
    ['back an hour', -HOUR],
    ['back a day', -DAY],
    ['back a year', -YEAR],
  ] as const) {
    test(`set ${step}, attempts go on by the schedule, and the message arrives once`, async (t) => {
      const stage = await scene(t, '120h');
      const { relay, destination, setClock } = stage;
      const queueId = await send(stage);
      await attempted(relay, queueId, 1);
      setClock(ms);
      await attempted(relay, queueId, 5);
      const between = gaps(attemptsOf(relay, queueId));
      // The row that was due by the former clock, and one that was written before the step was seen, may come early.
      assert.ok(
        between.every((gap) => gap < WAIT_MS + LATE_MS),
        `waits of ${between.join()} ms`,
      );
      assert.ok(
        between.slice(2).every((gap) => gap > WAIT_MS / 3),
        `waits of ${between.join()} ms`,
      );
      destination.react = () => undefined;
      await relay.untilEmpty();
      assert.equal(destination.messages.length, 1);
      assert.ok(relay.lines().some(({ message }) => message?.startsWith('The clock was set')));
    });
  }

  for (const [step, ms] of [
    ['forward a day', DAY],
    ['back a day', -DAY],
    ['back a year', -YEAR],
  ] as const) {
    test(`set ${step} while no relay runs, what waited is tried at once, and arrives once`, async (t) => {
      const stage = await scene(t, '120h');
      const { relay, destination, setClock } = stage;
      const queueId = await send(stage);
      await attempted(relay, queueId, 1);
      setClock(ms);
      await stage.restart();
      await attempted(relay, queueId, 3);
      destination.react = () => undefined;
      await relay.untilEmpty();
      assert.equal(destination.messages.length, 1);
    });
  }

  test('set back a day, a message is given up in its time all the same, and its sender is told once', async (t) => {
    const stage = await scene(t, '4s');
    const { relay, destination, setClock } = stage;
    const queueId = await send(stage);
    await attempted(relay, queueId, 1);
    setClock(-DAY);
    await relay.logged('it expires', (line) => line.event === 'expired' && line.queueId === queueId);
    await relay.untilEmpty();
    assert.equal(attemptsOf(relay, queueId).at(-1)?.attempts, 5, 'four waits of a second');
    await stage.restart();
    await relay.untilEmpty();
    assert.deepEqual(
      destination.messages.map(({ from, to }) => [from, to]),
      [['', ['app@example.test']]],
    );
  });

  test('set back for less than its age, a message is not given up for it', async (t) => {
    const stage = await scene(t, '30s');
    const { relay, destination, setClock } = stage;
    const queueId = await send(stage);
    await attempted(relay, queueId, 3);
    setClock(-2_000);
    await attempted(relay, queueId, 5);
    destination.react = () => undefined;
    await relay.untilEmpty();
    assert.deepEqual(
      destination.messages.map(({ to }) => to),
      [['ada@dest.test']],
    );
  });
});
