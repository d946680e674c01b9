import assert from 'node:assert/strict';
import { describe, it, mock, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { ReplicaClient } from './replica-client.ts';
import { type LinkTarget, ReplicaLink } from './replica-link.ts';
import type { ReplicaReport } from './replica-report.ts';

const ADDRESS = { ip: '192.0.2.1', serverName: 'outbound.mail.svc', ca: 'ca', token: 'token' };
const TARGET: LinkTarget = { address: ADDRESS, start: 'container-1', configHash: 'new', leaving: false };
const report = (configHash: string, messages = 0, draining = false): ReplicaReport => ({
  ...{ version: '1', configHash, rejected: [], draining, queue: { messages } },
});

/** A replica, the kubelet's ear, and a clock. */
class World {
  /** What the replica answers; undefined: nothing. */
  answer: ReplicaReport | undefined;
  /** When the kubelet was made to look, in seconds from the start. */
  readonly refreshes: number[] = [];
  questions = 0;
  changes = 0;
  readonly link: ReplicaLink;
  #swapped: () => void = () => undefined;

  constructor(t: TestContext) {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 });
    const client: ReplicaClient = {
      status: async () => {
        this.questions += 1;
        if (!this.answer) throw new Error('no route to host');
        return this.answer;
      },
      configChange: (_, __, signal) =>
        new Promise((resolve, reject) => {
          this.#swapped = resolve;
          signal.addEventListener('abort', () => reject(new Error('closed')));
        }),
    };
    this.link = new ReplicaLink({
      client,
      refresh: async () => void this.refreshes.push(Date.now() / 1_000),
      changed: () => {
        this.changes += 1;
      },
      nowMs: Date.now,
    });
    t.after(() => {
      this.link.close();
      mock.timers.reset();
    });
  }

  /** The replica has swapped its config, and the question that waited for it is answered. */
  swap(configHash: string): void {
    this.answer = report(configHash);
    this.#swapped();
  }

  async pass(seconds: number): Promise<void> {
    for (let passed = 0; passed < seconds * 4; passed++) {
      for (let turns = 0; turns < 10; turns++) await turn();
      mock.timers.tick(250);
    }
    for (let turns = 0; turns < 10; turns++) await turn();
  }
}

describe('a replica is followed', () => {
  it('by one question, where it goes by the config that is wanted', async (t) => {
    const world = new World(t);
    world.answer = report('new');
    world.link.update(TARGET);
    await world.pass(60);
    assert.deepEqual([world.questions, world.refreshes, world.changes], [1, [], 1]);
  });

  it('and the kubelet made to look, a second apart and then less and less often, until it has it', async (t) => {
    const world = new World(t);
    world.answer = report('old');
    world.link.update(TARGET);
    await world.pass(20);
    assert.deepEqual(world.refreshes.map(Math.round), [0, 1, 2, 4, 8, 16]);
    world.swap('new');
    await world.pass(120);
    assert.equal(world.refreshes.length, 6);
    assert.equal(world.link.report?.configHash, 'new');
  });

  it('and the kubelet made to look once a second at most, however many configs there are', async (t) => {
    const world = new World(t);
    world.answer = report('new');
    world.link.update(TARGET);
    await world.pass(5);
    for (const configHash of ['a', 'b', 'c', 'd']) {
      world.link.update({ ...TARGET, configHash });
      await world.pass(0.25);
    }
    assert.equal(world.refreshes.length, 1);
    await world.pass(1);
    assert.equal(world.refreshes.length, 2);
  });

  it('but where it cannot be asked the kubelet is made to look a few times only', async (t) => {
    const world = new World(t);
    world.link.update(TARGET);
    await world.pass(600);
    assert.equal(world.refreshes.length, 6);
    assert.deepEqual([world.link.report, world.link.silent, world.changes], [undefined, true, 1]);
  });

  it('and a drain of which nothing can be heard is told to be stuck', async (t) => {
    const world = new World(t);
    world.answer = report('new', 2);
    world.link.update(TARGET);
    await world.pass(1);
    world.answer = undefined;
    world.link.update({ ...TARGET, configHash: 'drained', leaving: true });
    await world.pass(5);
    assert.equal(world.link.stuck, 'its admin API does not answer');
  });

  it('and what it told before it was restarted counts no more', async (t) => {
    const world = new World(t);
    world.answer = report('new');
    world.link.update(TARGET);
    await world.pass(1);
    world.answer = undefined;
    world.link.update({ ...TARGET, start: 'container-2' });
    assert.equal(world.link.report, undefined);
  });

  it('each second while it drains, and what it told before that is not fresh', async (t) => {
    const world = new World(t);
    world.answer = report('new', 2);
    world.link.update(TARGET);
    await world.pass(1);
    world.link.update({ ...TARGET, configHash: 'drained', leaving: true });
    const told = [world.link.freshReport, world.link.report].map((each) => each?.queue.messages);
    assert.deepEqual(told, [undefined, 2]);
    world.answer = report('drained', 1, true);
    await world.pass(10);
    assert.equal(world.link.freshReport?.queue.messages, 1);
    assert.ok(world.questions >= 9 && world.questions <= 13, `${world.questions} questions`);
  });
});
