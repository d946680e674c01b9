import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OperatorEvent } from '../../backend.ts';
import type { ApiObject, LiveObject, Patch } from './api.ts';
import { Forbidden, NotFound, Unavailable } from './api-error.ts';
import { ApiEvents } from './events.ts';

const event = (over: Partial<OperatorEvent> = {}): OperatorEvent => ({
  kind: 'MailDomain',
  key: { namespace: 'mail', name: 'example-test' },
  type: 'Normal',
  reason: 'DkimKeyCreated',
  message: 'Made a DKIM key.',
  ...over,
});

function scene(t: TestContext) {
  const written: (readonly [verb: 'create' | 'count', value: unknown])[] = [];
  const created: ApiObject[] = [];
  const dropped: string[] = [];
  const failures: Error[] = [];
  let nowMs = Date.parse('2026-03-01T12:00:00Z');
  const answer = async (): Promise<LiveObject> => {
    const failure = failures.shift();
    if (failure) throw failure;
    return { ...event(), apiVersion: '', metadata: { name: '', namespace: '', uid: '', ...META } };
  };
  const events = new ApiEvents({
    api: {
      create: async (_, object) => {
        await answer();
        created.push(object);
        written.push(['create', object.note]);
        return await answer();
      },
      patch: async (_, __, patch: Patch) => {
        const done = await answer();
        written.push(['count', 'series' in patch ? patch.series : undefined]);
        return done;
      },
    },
    uidOf: () => 'uid-of-it',
    instance: 'operator-0',
    dropped: (_, error) => dropped.push(error instanceof Error ? error.message : ''),
    nowMs: () => nowMs,
    gatherMs: 5,
  });
  t.after(() => events.stop());
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { events, written, created, dropped, failures, pass };
}

const META = { resourceVersion: '', creationTimestamp: '' };

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await sleep(1);
  }
}

describe('events', () => {
  it('are written to the namespace of the object, as events.k8s.io/v1 has them', async (t) => {
    const { events, created } = scene(t);
    events.emit(event());
    await until('it is written', () => created.length === 1);
    const { metadata, ...rest } = created[0] ?? { metadata: { name: '' } };
    assert.match(metadata.name, /^example-test\.[0-9a-f]{16}$/);
    assert.deepEqual(rest, {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      eventTime: '2026-03-01T12:00:00.000000Z',
      reportingController: 'chasqui.dev/operator',
      reportingInstance: 'operator-0',
      action: 'Reconcile',
      reason: 'DkimKeyCreated',
      regarding: {
        ...{ apiVersion: 'chasqui.dev/v1alpha1', kind: 'MailDomain', namespace: 'mail', name: 'example-test' },
        uid: 'uid-of-it',
      },
      note: 'Made a DKIM key.',
      type: 'Normal',
    });
  });

  it('that come again are counted, many of them with one write', async (t) => {
    const { events, written } = scene(t);
    events.emit(event());
    await until('it is written', () => written.length === 1);
    for (let times = 0; times < 5; times++) events.emit(event());
    await until('they are counted', () => written.length === 2);
    assert.deepEqual(written[1], ['count', { count: 6, lastObservedTime: '2026-03-01T12:00:00.000000Z' }]);
  });

  it('that come again much later are written anew, as are others', async (t) => {
    const { events, written, pass } = scene(t);
    events.emit(event());
    events.emit(event({ message: 'Made another.' }));
    pass(7 * 60_000);
    events.emit(event());
    await until('all are written', () => written.length === 3);
    assert.deepEqual(
      written.map(([verb]) => verb),
      ['create', 'create', 'create'],
    );
  });

  it('whose first one is gone meanwhile are written with their series', async (t) => {
    const { events, created, failures } = scene(t);
    events.emit(event());
    await until('it is written', () => created.length === 1);
    failures.push(new NotFound('gone'));
    events.emit(event());
    await until('it is written again', () => created.length === 2);
    assert.deepEqual(created[1]?.series, { count: 2, lastObservedTime: '2026-03-01T12:00:00.000000Z' });
  });

  it('are tried again when the API server does not answer, and dropped when it refuses them', async (t) => {
    const { events, written, dropped, failures } = scene(t);
    failures.push(new Unavailable('no answer'));
    events.emit(event());
    await until('it is written', () => written.length === 1);
    failures.push(new Forbidden('the namespace is going', true));
    events.emit(event({ reason: 'Other' }));
    await until('it is dropped', () => dropped.length === 1);
    assert.deepEqual([written.length, dropped], [1, ['the namespace is going']]);
  });

  it('of one object are few in a short time, and no other object has less for it', async (t) => {
    const { events, created } = scene(t);
    for (let number = 0; number < 100; number++) events.emit(event({ message: `Number ${number}.` }));
    events.emit(event({ key: { namespace: 'mail', name: 'quiet' } }));
    await until('the quiet one is written', () => created.some(({ metadata }) => metadata.name.startsWith('quiet')));
    assert.equal(created.length, 26);
  });
});
