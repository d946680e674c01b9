import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { DnsChecker, recordId } from './checker.ts';
import type { WantedRecord } from './records.ts';
import type { Look } from './verify.ts';

const record = (name: string, purpose: 'Dkim' | 'Host' = 'Dkim'): WantedRecord => ({
  type: purpose === 'Host' ? 'A' : 'TXT',
  name,
  value: '192.0.2.1',
  purpose,
});
const KEY = record('key.test');
const MINUTE_MS = 60_000;

/** A checker by a clock of the test's own, without jitter, on DNS as the test says it is. */
function scene(t: TestContext, dns: (wanted: WantedRecord) => Look | Promise<Look>) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const looks: number[] = [];
  const woken: string[] = [];
  const checker = new DnsChecker({
    verify: async (wanted) => {
      looks.push(Date.now());
      return dns(wanted);
    },
    monotonicMs: () => Date.now(),
    random: () => 0.5,
  });
  checker.watch((id) => woken.push(id));
  t.after(() => checker.stop());
  return {
    checker,
    looks,
    woken,
    /** Lets so much time go by, and what falls due in it come to its end. */
    pass: async (ms: number): Promise<void> => {
      await settled();
      for (let left = ms; left > 0; left -= 500) {
        t.mock.timers.tick(Math.min(left, 500));
        await settled();
      }
    },
  };
}

/** Promises that need no time have come to their end. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
};

describe('the DNS checker', () => {
  it('looks at once, and wakes whoever asked when it knows', async (t) => {
    const { checker, woken, pass } = scene(t, () => ({ state: 'Published' }));
    assert.deepEqual(checker.observe('a', [KEY]), new Map());
    await pass(0);
    assert.deepEqual(woken, ['a']);
    assert.deepEqual(checker.observe('a', [KEY]), new Map([[recordId(KEY), { state: 'Published' }]]));
  });

  it('looks soon and then ever later at what is missing, at least each five minutes', async (t) => {
    const { checker, looks, pass } = scene(t, () => ({ state: 'Missing' }));
    checker.observe('a', [KEY]);
    await pass(20 * MINUTE_MS);
    const waits = looks.slice(1).map((at, index) => (at - (looks[index] ?? 0)) / 1000);
    assert.deepEqual(waits.slice(0, 10), [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
  });

  it('looks each half hour at what is published, whatever the host names of relays lack', async (t) => {
    const host = record('relay.test', 'Host');
    const { checker, looks, pass } = scene(t, ({ purpose }) => ({
      state: purpose === 'Host' ? 'Missing' : 'Published',
    }));
    checker.observe('a', [KEY, host]);
    await pass(61 * MINUTE_MS);
    assert.deepEqual(
      [...new Set(looks)].map((at) => at / MINUTE_MS),
      [0, 30, 60],
    );
  });

  it('keeps what it knew when DNS does not answer, and tells that', async (t) => {
    let answer: Look = { state: 'Published' };
    const { checker, woken, pass } = scene(t, () => answer);
    checker.observe('a', [KEY]);
    await pass(0);
    answer = { state: 'Unknown', observed: 'SERVFAIL' };
    await pass(31 * MINUTE_MS);
    assert.deepEqual(checker.observe('a', [KEY]).get(recordId(KEY)), { state: 'Published', problem: 'SERVFAIL' });
    assert.deepEqual(woken, ['a', 'a'], 'once for the trouble, however often it looks');
    answer = { state: 'Missing' };
    await pass(6 * MINUTE_MS);
    assert.deepEqual(checker.observe('a', [KEY]).get(recordId(KEY)), { state: 'Missing' });
  });

  it('takes a look that fails by itself as one that DNS did not answer', async (t) => {
    const { checker, pass } = scene(t, () => Promise.reject(new Error('no socket')));
    checker.observe('a', [KEY]);
    await pass(0);
    assert.deepEqual(checker.observe('a', [KEY]).get(recordId(KEY)), { problem: 'no socket' });
  });

  it('forgets records that are not wanted any more, and looks at new ones at once', async (t) => {
    const { checker, looks, pass } = scene(t, () => ({ state: 'Published' }));
    const other = record('other.test');
    checker.observe('a', [KEY]);
    await pass(MINUTE_MS);
    assert.deepEqual([...checker.observe('a', [KEY, other]).keys()], [recordId(KEY)]);
    await pass(0);
    assert.equal(looks.length, 3);
    assert.deepEqual([...checker.observe('a', [other]).keys()], [recordId(other)]);
    checker.observe('a', []);
    await pass(60 * MINUTE_MS);
    assert.equal(looks.length, 4, 'nobody asks for it');
  });

  it('looks at 1,000 domains, at 16 of them at a time, each in its turn', async (t) => {
    let at = 0;
    let most = 0;
    const seen = new Map<string, number>();
    const { checker, pass } = scene(t, async ({ name }) => {
      at += 1;
      most = Math.max(most, at);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      at -= 1;
      seen.set(name, (seen.get(name) ?? 0) + 1);
      return { state: 'Missing' };
    });
    for (let index = 0; index < 1000; index += 1) checker.observe(`d${index}`, [record(`d${index}.test`)]);
    await pass(130_000);
    assert.equal(most, 16);
    const looks = [...seen.values()];
    assert.equal(looks.length, 1000);
    assert.ok(
      Math.max(...looks) - Math.min(...looks) <= 1,
      'those that are due again wait for those that were never seen',
    );
  });
});

it('a look that does not end is given up', async () => {
  const checker = new DnsChecker({
    verify: () => new Promise(() => {}),
    monotonicMs: () => performance.now(),
    lookMs: 20,
  });
  const woken = new Promise<string>((resolve) => checker.watch(resolve));
  checker.observe('a', [KEY]);
  assert.equal(await woken, 'a');
  assert.deepEqual(checker.observe('a', [KEY]).get(recordId(KEY)), { problem: 'no answer in time' });
  checker.stop();
});
