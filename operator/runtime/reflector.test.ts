import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Reflector, type ReflectorTimes, type Source, type SourceEvent, type SourcePage } from './reflector.ts';

interface Note {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly resourceVersion: string };
}

const note = (name: string, version: number): Note => ({
  metadata: { namespace: 'default', name, resourceVersion: String(version) },
});
const page = (version: number, items: readonly Note[], next?: string): SourcePage<Note> => ({
  items,
  resourceVersion: String(version),
  ...(next && { continue: next }),
});
const added = (name: string, version: number): SourceEvent<Note> => ({ type: 'ADDED', object: note(name, version) });
const deleted = (name: string, version: number): SourceEvent<Note> => ({
  type: 'DELETED',
  object: note(name, version),
});
const bookmark = (version: number): SourceEvent<Note> => ({ type: 'BOOKMARK', resourceVersion: String(version) });

class TooOld extends Error {}

/** What a watch does in turn: tells an event, fails, or ends; after its script it stays open and silent. */
type Step = SourceEvent<Note> | Error | 'end';

/** A source that answers by script, and writes down what it was asked. */
class Scripted implements Source<Note> {
  readonly asked: string[] = [];
  readonly lists: (SourcePage<Note> | Error)[] = [];
  readonly watches: Step[][] = [];
  open = 0;

  async list(_limit: number, next: string | undefined): Promise<SourcePage<Note>> {
    this.asked.push(next === undefined ? 'list' : `list after ${next}`);
    const answer = this.lists.shift() ?? page(1_000, []);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  async *watch(version: string, _seconds: number, signal: AbortSignal): AsyncIterable<SourceEvent<Note>> {
    this.asked.push(`watch from ${version}`);
    this.open += 1;
    try {
      for (const step of this.watches.shift() ?? []) {
        await turn();
        if (step === 'end') return;
        if (step instanceof Error) throw step;
        yield step;
      }
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
    } finally {
      this.open -= 1;
    }
  }

  tooOld(error: unknown): boolean {
    return error instanceof TooOld;
  }
}

interface Scene {
  readonly source: Scripted;
  readonly reflector: Reflector<Note>;
  readonly changes: string[];
  readonly failures: string[];
  readonly names: () => string[];
}

function scene(t: TestContext, times: Partial<ReflectorTimes> = {}): Scene {
  const source = new Scripted();
  const changes: string[] = [];
  const failures: string[] = [];
  const reflector = new Reflector<Note>({
    source,
    changed: ({ name }, now) => changes.push(now ? `${name} is at ${now.metadata.resourceVersion}` : `${name} is gone`),
    failed: (error) => failures.push(error instanceof Error ? error.message : String(error)),
    times: { backoff: { firstMs: 1, lastMs: 2 }, ...times },
  });
  t.after(() => reflector.stop());
  const names = (): string[] =>
    [...reflector.list()].map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`);
  return { source, reflector, changes, failures, names };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await turn();
  }
}

describe('a reflector', () => {
  it('is synced once every page was read, and not before', async (t) => {
    const { source, reflector, names } = scene(t);
    const second = Promise.withResolvers<SourcePage<Note>>();
    source.lists.push(page(5, [note('a', 1)], 'x'));
    const list = source.list.bind(source);
    source.list = (limit, next) => (next === undefined ? list(limit, next) : second.promise);
    const started = reflector.start();
    await until('the first page is read', () => source.asked.includes('list'));
    await turn();
    assert.deepEqual([reflector.synced, names()], [false, []]);
    second.resolve(page(5, [note('b', 2)]));
    await started;
    assert.deepEqual([reflector.synced, names()], [true, ['a@1', 'b@2']]);
  });

  it('watches from the version of the list, and tells of what appears, changes and goes', async (t) => {
    const { source, reflector, changes, names } = scene(t);
    source.lists.push(page(5, [note('a', 1)]));
    source.watches.push([added('b', 6), { type: 'MODIFIED', object: note('a', 7) }, deleted('b', 8)]);
    await reflector.start();
    await until('all is told', () => changes.length === 4);
    assert.deepEqual(changes, ['a is at 1', 'b is at 6', 'a is at 7', 'b is gone']);
    assert.deepEqual([source.asked, names()], [['list', 'watch from 5'], ['a@7']]);
  });

  it('goes on from the last event or bookmark when a watch ends or breaks, without a list', async (t) => {
    const { source, reflector } = scene(t);
    source.lists.push(page(5, []));
    source.watches.push([added('a', 6), 'end'], [bookmark(9), new Error('reset')]);
    await reflector.start();
    await until('it watches again', () => source.asked.length === 4);
    assert.deepEqual(source.asked, ['list', 'watch from 5', 'watch from 6', 'watch from 9']);
  });

  it('lists anew when the version is too old, and tells what went meanwhile', async (t) => {
    const { source, reflector, changes } = scene(t);
    source.lists.push(page(5, [note('a', 1), note('b', 2)]), page(20, [note('b', 2), note('c', 19)]));
    source.watches.push([new TooOld('too old')]);
    await reflector.start();
    await until('it watches again', () => source.asked.length === 4);
    assert.deepEqual(source.asked, ['list', 'watch from 5', 'list', 'watch from 20']);
    assert.deepEqual(changes, ['a is at 1', 'b is at 2', 'a is gone', 'c is at 19']);
  });

  it('keeps what it has while nothing answers, and tries again without end', async (t) => {
    const { source, reflector, failures, names, changes } = scene(t);
    source.lists.push(page(5, [note('a', 1)]));
    for (let times = 0; times < 3; times++) source.watches.push([new Error('refused')]);
    source.lists.push(new Error('refused'), new Error('refused'), page(9, [note('a', 1)]));
    await reflector.start();
    await until('it watches again', () => source.asked.at(-1) === 'watch from 9');
    assert.deepEqual([names(), failures.length, changes], [['a@1'], 5, ['a is at 1']]);
  });

  it('lists nothing anew for watches that break again and again, but tell something in between', async (t) => {
    const { source, reflector } = scene(t);
    source.lists.push(page(5, []));
    for (let version = 6; version < 12; version++) source.watches.push([bookmark(version), new Error('reset')]);
    await reflector.start();
    await until('it watches again', () => source.asked.at(-1) === 'watch from 11');
    assert.equal(source.asked.filter((asked) => asked === 'list').length, 1);
  });

  it('starts over when the pages of a list are too old to go on with', async (t) => {
    const { source, reflector, names } = scene(t);
    source.lists.push(page(5, [note('a', 1)], 'x'), new TooOld('expired'), page(9, [note('b', 8)]));
    await reflector.start();
    assert.deepEqual([source.asked.slice(0, 3), names()], [['list', 'list after x', 'list'], ['b@8']]);
  });

  it('gives up a watch that is open and silent', async (t) => {
    const { source, reflector, failures } = scene(t, { silenceMs: 20 });
    source.lists.push(page(5, []));
    await reflector.start();
    await until('it watches again', () => source.asked.filter((asked) => asked === 'watch from 5').length === 2);
    assert.match(failures[0] ?? '', /told nothing/);
    await until('the silent one is closed', () => source.open <= 1);
  });

  it('does not storm when watches end as soon as they begin', async (t) => {
    const { source, reflector, failures } = scene(t);
    source.lists.push(page(5, []));
    source.watches.push(['end'], ['end']);
    await reflector.start();
    await until('it watches a third time', () => source.asked.length === 4);
    assert.deepEqual(failures, ['a watch ended at once', 'a watch ended at once']);
  });

  it('lists anew now and then, and finds what a watch lost', async (t) => {
    const { source, reflector, names } = scene(t, { relistMs: 30 });
    source.lists.push(page(5, [note('a', 1)]), page(9, [note('b', 8)]));
    const quiet = (): Step[] => [bookmark(6), 'end'];
    source.watches.push(...Array.from({ length: 10_000 }, quiet));
    await reflector.start();
    await until('it lists again', () => names().join() === 'b@8');
  });

  it('takes in our own write at once, and is not led back by events from before it', async (t) => {
    const { source, reflector, changes, names } = scene(t);
    source.lists.push(page(5, [note('a', 1)]));
    source.watches.push([{ type: 'MODIFIED', object: note('a', 6) }, bookmark(7)]);
    await reflector.start();
    reflector.wrote(note('a', 7));
    assert.deepEqual(names(), ['a@7']);
    await until('the watch told all', () => source.open === 1);
    await turn();
    assert.deepEqual([names(), changes], [['a@7'], ['a is at 1', 'a is at 7']]);
  });

  it('does not bring back by a late answer what went meanwhile', async (t) => {
    const { source, reflector, changes, names } = scene(t);
    source.lists.push(page(5, [note('a', 1)]));
    source.watches.push([deleted('a', 8)]);
    await reflector.start();
    await until('it went', () => changes.length === 2);
    reflector.wrote(note('a', 7));
    assert.deepEqual(names(), []);
    reflector.wrote(note('a', 9));
    assert.deepEqual(names(), ['a@9']);
  });

  it('keeps over a list what we wrote after it was made', async (t) => {
    const { source, reflector, changes, names } = scene(t);
    source.lists.push(page(5, [note('a', 1)]), page(6, [note('a', 1)]));
    source.watches.push([new TooOld('too old')]);
    await reflector.start();
    reflector.wrote(note('a', 7));
    reflector.wrote(note('b', 8));
    await until('it watches again', () => source.asked.at(-1) === 'watch from 6');
    assert.deepEqual(names(), ['a@7', 'b@8']);
    assert.ok(!changes.includes('b is gone'));
  });

  it('believes the list where versions went back, as after the restore of a backup', async (t) => {
    const { source, reflector, names } = scene(t);
    source.lists.push(page(50, [note('a', 40), note('b', 45)]), page(20, [note('a', 10)]));
    source.watches.push([new TooOld('too old')]);
    await reflector.start();
    await until('it watches again', () => source.asked.at(-1) === 'watch from 20');
    assert.deepEqual(names(), ['a@10']);
  });

  it('never passes an empty copy for an empty world when it is stopped before all was read', async (t) => {
    const { source, reflector } = scene(t);
    const answer = Promise.withResolvers<SourcePage<Note>>();
    source.list = () => answer.promise;
    const started = reflector.start();
    const stopped = reflector.stop();
    await assert.rejects(started, /before all was read/);
    answer.resolve(page(5, []));
    await stopped;
    assert.equal(reflector.synced, false);
  });

  it('asks nothing more once it is stopped', async (t) => {
    const { source, reflector } = scene(t);
    source.lists.push(page(5, []));
    await reflector.start();
    await until('it watches', () => source.open === 1);
    await reflector.stop();
    assert.deepEqual([source.open, source.asked], [0, ['list', 'watch from 5']]);
  });
});
