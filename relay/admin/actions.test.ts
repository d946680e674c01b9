/** What a person asks for, over a spool that fails, attempts that end late, and processes that end before. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { accept, envelope, folderFor, NOW, openIn, to } from '../../test/harness/spool.ts';
import type { MessageEvent } from '../observe/events.ts';
import { type QueuedMessage, type Spool, SpoolUnavailable } from '../spool/spool.ts';
import { Actions } from './actions.ts';

interface Scene {
  readonly actions: Actions;
  readonly events: MessageEvent[];
  readonly log: string[];
}

/** @param underWay what attempts are waited for */
function sceneOf(
  spool: Spool,
  record: Spool['record'] = (...all) => spool.record(...all),
  underWay?: Promise<void>,
): Scene {
  const events: MessageEvent[] = [];
  const log: string[] = [];
  const actions = new Actions({
    spool: {
      steer: (...all) => spool.steer(...all),
      show: (id) => spool.show(id),
      intended: () => spool.intended(),
      record,
    },
    deliverer: {
      withdraw: (selections) => new Map(underWay ? selections.map(({ queueId }) => [queueId, underWay]) : []),
      wakeAt: () => undefined,
      letGo: () => undefined,
      enqueue: () => undefined,
    },
    observer: {
      message: (event) => events.push(event),
      session: () => undefined,
      host: () => undefined,
      log: (level, message) => log.push(`${level} ${message}`),
    },
    report: () => ({
      envelope: envelope({ mailFrom: '' }),
      content: Buffer.from('notice'),
      deliveries: to('sender@example.test'),
    }),
    message: () => ({ headers: async () => Buffer.alloc(0), inMemory: async () => undefined }),
    answering: () => new Set(),
    now: () => NOW,
  });
  return { actions, events, log };
}

async function queued(spool: Spool, ...users: readonly string[]): Promise<readonly QueuedMessage[]> {
  for (const user of users) await accept(spool, user, to(`${user}@one.test`));
  return await spool.list(10);
}

const told = ({ events }: Scene) =>
  events.flatMap(({ event, ...rest }) => ('recipients' in rest ? [`${event} ${rest.recipients.join(' ')}`] : []));

test('one message that cannot be returned keeps no other from it, and is returned as soon as it can', async (t) => {
  const spool = await openIn(t, folderFor(t));
  const messages = await queued(spool, 'ann', 'bob', 'cem');
  let failing = true;
  const scene = sceneOf(spool, async (outcomes, spawned) => {
    const ofBob = outcomes.some(({ delivery }) => delivery === messages[1]?.deliveries[0]?.id);
    if (ofBob && failing) throw new SpoolUnavailable('no room');
    return spool.record(outcomes, spawned);
  });
  assert.deepEqual(await scene.actions.act('bounce', messages, 'me'), ['done', 'later', 'done']);
  assert.deepEqual(told(scene), ['returned ann@one.test', 'returned cem@one.test']);
  assert.match(scene.log.join(), /error A message could not be ended; it is on hold, and is tried again/);
  failing = false;
  await scene.actions.resume();
  assert.deepEqual(told(scene).slice(2), ['returned bob@one.test']);
  assert.deepEqual(await spool.intended(), []);
});

for (const [how, event] of [
  ['bounce', 'returned'],
  ['delete', 'removed'],
] as const) {
  test(`${how}: what is released before its attempt ends is not ended: it is delivered or ${event}, never both`, async (t) => {
    const spool = await openIn(t, folderFor(t));
    const messages = await queued(spool, 'ann');
    const { promise: attempt, resolve: attemptEnds } = Promise.withResolvers<void>();
    const scene = sceneOf(spool, undefined, attempt);
    const acting = scene.actions.act(how, messages, 'me');
    while ((await spool.intended()).length === 0);
    assert.deepEqual(await scene.actions.act('release', messages, 'me'), ['done']);
    attemptEnds();
    assert.deepEqual(await acting, ['unchanged']);
    assert.deepEqual(told(scene), ['released ann@one.test']);
    assert.deepEqual(
      (await spool.list(10)).map(({ deliveries }) => deliveries[0]?.dueMs),
      [NOW],
    );
  });

  test(`${how}: a process that ends before the attempt leaves it to the next one`, async (t: TestContext) => {
    const folder = folderFor(t);
    const first = await openIn(t, folder);
    const messages = await queued(first, 'ann');
    const before = sceneOf(first, undefined, new Promise(() => undefined));
    void before.actions.act(how, messages, 'me');
    while ((await first.intended()).length === 0);
    await first.close();

    const second = await openIn(t, folder);
    const after = sceneOf(second);
    await after.actions.resume();
    assert.deepEqual([told(before), told(after)], [[], [`${event} ann@one.test`]]);
    const left = (await second.list(10)).flatMap(({ deliveries }) =>
      deliveries.map(({ recipients }) => recipients[0]?.address),
    );
    assert.deepEqual(left, how === 'bounce' ? ['sender@example.test'] : []);
  });
}
