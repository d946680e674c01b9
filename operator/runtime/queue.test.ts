import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { KeyedQueue } from './queue.ts';

/** What ends in one turn of the event loop is followed in the next. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

function queue(work: (key: string) => Promise<number | undefined>, workers = 4) {
  const failures: { readonly key: string; readonly retryMs: number }[] = [];
  const failed = (key: string, _: unknown, retryMs: number): void => void failures.push({ key, retryMs });
  return { queue: new KeyedQueue({ work, workers, failed, random: () => 0.5 }), failures };
}

describe('a keyed queue', () => {
  it('does nothing before it is started, and works on a key once however often it was added', async () => {
    const worked: string[] = [];
    const { queue: q } = queue(async (key) => void worked.push(key) as undefined);
    q.add('a');
    q.add('b');
    q.add('a');
    await turn();
    assert.deepEqual(worked, []);
    q.start();
    await turn();
    assert.deepEqual(worked, ['a', 'b']);
    await q.stop();
  });

  it('never has two workers on one key, and works once more on one that was added meanwhile', async () => {
    const releases: (() => void)[] = [];
    const { queue: q } = queue(() => new Promise((resolve) => releases.push(() => resolve(undefined))));
    q.start();
    q.add('a');
    q.add('a');
    q.add('a');
    await turn();
    assert.equal(releases.length, 1);
    releases[0]?.();
    await turn();
    assert.equal(releases.length, 2);
    releases[1]?.();
    await turn();
    assert.equal(releases.length, 2);
    await q.stop();
  });

  it('takes what somebody waits for before what is behind, and never a key twice', async () => {
    const worked: string[] = [];
    const { queue: q } = queue(async (key) => void worked.push(key) as undefined, 1);
    for (const key of ['a', 'b', 'c']) q.add(key, 'Behind');
    q.add('edited');
    q.add('c');
    q.add('c', 'Behind');
    q.start();
    for (let turns = 0; turns < 8; turns += 1) await turn();
    assert.deepEqual(worked, ['edited', 'c', 'a', 'b']);
    await q.stop();
  });

  it('has no more keys in hand than workers', async () => {
    const releases: (() => void)[] = [];
    const { queue: q } = queue(() => new Promise((resolve) => releases.push(() => resolve(undefined))), 2);
    q.start();
    for (const key of ['a', 'b', 'c']) q.add(key);
    assert.equal(releases.length, 2);
    releases[0]?.();
    await turn();
    assert.equal(releases.length, 3);
    for (const release of releases) release();
    await q.stop();
  });

  it('tries a key that failed again, later each time, and at the start again after a success', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    t.after(() => mock.timers.reset());
    let broken = true;
    const { queue: q, failures } = queue(async () => {
      if (broken) throw new Error('broken');
      return undefined;
    });
    q.start();
    q.add('a');
    await turn();
    for (let wait = 200; wait <= 800; wait *= 2) {
      mock.timers.tick(wait);
      await turn();
    }
    assert.deepEqual(
      failures.map(({ retryMs }) => retryMs),
      [200, 400, 800, 1600],
    );
    broken = false;
    mock.timers.tick(1600);
    await turn();
    broken = true;
    q.add('a');
    await turn();
    assert.equal(failures.at(-1)?.retryMs, 200);
    await q.stop();
  });

  it('does not try a failed key at once when it is added, since its own failure may have caused that', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    t.after(() => mock.timers.reset());
    const { queue: q, failures } = queue(() => Promise.reject(new Error('broken')));
    q.start();
    q.add('a');
    await turn();
    mock.timers.tick(200);
    await turn();
    mock.timers.tick(400);
    await turn();
    assert.equal(failures.length, 3);
    q.add('a');
    await turn();
    assert.equal(failures.length, 3);
    mock.timers.tick(200);
    await turn();
    assert.equal(failures.length, 4, 'but sooner than the 800 ms of its backoff');
    await q.stop();
  });

  it('lets a key that fails disturb no other', async () => {
    const worked: string[] = [];
    const { queue: q } = queue(async (key) => {
      if (key === 'bad') throw new Error('broken');
      worked.push(key);
      return undefined;
    }, 1);
    q.start();
    for (const key of ['bad', 'good', 'better']) q.add(key);
    while (worked.length < 2) await turn();
    assert.deepEqual(worked, ['good', 'better']);
    await q.stop();
  });

  it('works on a key again after the time it asked for, and stops waiting when stopped', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    t.after(() => mock.timers.reset());
    let times = 0;
    const { queue: q } = queue(async () => {
      times += 1;
      return 5_000;
    });
    q.start();
    q.add('a');
    await turn();
    mock.timers.tick(4_999);
    await turn();
    assert.equal(times, 1);
    mock.timers.tick(1);
    await turn();
    assert.equal(times, 2);
    await q.stop();
    mock.timers.tick(5_000);
    await turn();
    assert.equal(times, 2);
  });
});
