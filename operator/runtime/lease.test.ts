import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Election, type LeaseRecord, type LeaseStore, NotLeader, type StoredLease, writeTimeoutMs } from './lease.ts';

const TIMES = { durationMs: 15_000, renewWithinMs: 10_000, everyMs: 1 };

/** A lease in memory, with versions as an API server has them. */
class Store implements LeaseStore {
  lease: StoredLease | undefined;
  /** Holders by write, in order. */
  readonly writes: string[] = [];
  reads = 0;
  failure: Error | undefined;
  #version = 0;

  async read(): Promise<StoredLease | undefined> {
    this.reads += 1;
    if (this.failure) throw this.failure;
    return this.lease;
  }

  async write(record: LeaseRecord, replaced: string | undefined): Promise<StoredLease> {
    if (this.failure) throw this.failure;
    if (this.lease?.version !== replaced) throw new Error('conflict');
    this.writes.push(record.holder);
    this.put(record);
    return { ...record, version: String(this.#version) };
  }

  put(record: LeaseRecord): void {
    this.#version += 1;
    this.lease = { ...record, version: String(this.#version) };
  }
}

class Clock {
  ms = 1_000_000;
  skewMs = 0;
  readonly monotonicMs = (): number => this.ms;
  readonly wallMs = (): number => this.ms + this.skewMs;
}

function candidate(t: TestContext, store: Store, identity: string, clocks = new Clock()) {
  const failures: string[] = [];
  const election = new Election({
    store,
    identity,
    times: TIMES,
    clocks,
    failed: (error) => failures.push(error instanceof Error ? error.message : String(error)),
  });
  t.after(() => election.release());
  return { election, clocks, failures };
}

const held = (holder: string): LeaseRecord => ({
  ...{ holder, durationMs: 15_000, acquiredMs: 0, renewedMs: 0, transitions: 3 },
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await sleep(1);
  }
}

describe('an election', () => {
  it('is won by who comes first, and the lease is renewed', async (t) => {
    const store = new Store();
    const { election } = candidate(t, store, 'a');
    assert.throws(() => election.mayWrite(), NotLeader);
    assert.equal(await election.campaign(), true);
    election.mayWrite();
    await until('it was renewed', () => store.writes.length > 3);
    assert.equal(store.lease?.transitions, 0);
  });

  it('makes others wait until the lease was not renewed for its whole duration', async (t) => {
    const store = new Store();
    store.put(held('a'));
    const { election, clocks } = candidate(t, store, 'b');
    const won = election.campaign();
    await until('it looked', () => store.reads > 2);
    clocks.ms += 14_999;
    const reads = store.reads;
    await until('it looked again', () => store.reads > reads + 2);
    assert.deepEqual(store.writes, []);
    clocks.ms += 1;
    assert.equal(await won, true);
    assert.equal(store.lease?.transitions, 4);
  });

  it('starts the wait again at each renewal, and does not ask what time the holder has', async (t) => {
    const store = new Store();
    store.put({ ...held('a'), renewedMs: 0 });
    const { election, clocks } = candidate(t, store, 'b');
    const won = election.campaign();
    await until('it looked', () => store.reads > 2);
    clocks.ms += 14_000;
    store.put(held('a'));
    const reads = store.reads;
    await until('it looked again', () => store.reads > reads + 2);
    clocks.ms += 14_000;
    await until('it looked once more', () => store.reads > reads + 6);
    assert.deepEqual(store.writes, []);
    clocks.ms += 1_000;
    assert.equal(await won, true);
  });

  it('is won at once where the lease was given back', async (t) => {
    const store = new Store();
    const first = candidate(t, store, 'a');
    await first.election.campaign();
    await first.election.release();
    assert.throws(() => first.election.mayWrite(), NotLeader);
    const second = candidate(t, store, 'b');
    assert.equal(await second.election.campaign(), true);
    await until('it was renewed', () => store.writes.at(-1) === 'b');
    assert.ok(!store.writes.slice(store.writes.indexOf('b')).includes('a'));
  });

  for (const [sentence, pass] of [
    ['was stopped', (clock: Clock) => (clock.ms += 10_000)],
    ['slept with its machine, so that only the wall clock went on', (clock: Clock) => (clock.skewMs += 10_000)],
  ] as const) {
    it(`lets a leader that ${sentence} write nothing more, not even its lease`, async (t) => {
      const store = new Store();
      const { election, clocks } = candidate(t, store, 'a');
      await election.campaign();
      await until('it was renewed', () => store.writes.length > 1);
      const written = store.writes.length;
      pass(clocks);
      assert.throws(() => election.mayWrite(), NotLeader);
      assert.throws(() => election.mayWriteLease(), NotLeader);
      await election.lost;
      assert.equal(store.writes.length, written);
    });
  }

  it('counts from when a renewal was sent, not from when it was answered', async (t) => {
    const store = new Store();
    const { election, clocks } = candidate(t, store, 'a');
    const write = store.write.bind(store);
    store.write = async (record, replaced) => {
      const answer = await write(record, replaced);
      clocks.ms += 10_000;
      return answer;
    };
    const won = election.campaign();
    await until('it wrote', () => store.writes.length > 0);
    assert.equal(election.leading, false);
    await election.release();
    await won;
  });

  it('is kept while renewals fail for a while, and lost when they fail for too long', async (t) => {
    const store = new Store();
    const { election, clocks, failures } = candidate(t, store, 'a');
    await election.campaign();
    store.failure = new Error('refused');
    await until('it failed', () => failures.length > 2);
    election.mayWrite();
    clocks.ms += 10_000;
    await election.lost;
    assert.equal(election.leading, false);
  });

  it('is lost at once when another holds the lease after all, or somebody deleted it', async (t) => {
    for (const there of [held('b'), undefined]) {
      const store = new Store();
      const { election } = candidate(t, store, 'a');
      await election.campaign();
      if (there) store.put(there);
      else store.lease = undefined;
      await election.lost;
      assert.throws(() => election.mayWrite(), NotLeader);
    }
  });

  it('goes on when a foreign hand wrote something else to our lease', async (t) => {
    const store = new Store();
    const { election, failures } = candidate(t, store, 'a');
    await election.campaign();
    await until('it was renewed', () => store.writes.length > 1);
    assert.ok(store.lease);
    store.put(store.lease);
    await until('it met the other version', () => failures.includes('conflict'));
    const written = store.writes.length;
    await until('it is renewed again', () => store.writes.length > written + 1);
    election.mayWrite();
  });
});

it('a write is over before another may begin', () => {
  assert.ok(writeTimeoutMs(TIMES) < TIMES.durationMs - TIMES.renewWithinMs);
});
