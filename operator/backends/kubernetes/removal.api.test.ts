/** What becomes of a relay that is deleted, and of its mail. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { KEY, Scene, until } from './fixtures/scene.ts';

describe('relays in a cluster that are deleted', { timeout: 240_000 }, () => {
  let scene: Scene;
  before(async () => {
    scene = await Scene.start(3);
  });
  after(() => scene?.[Symbol.asyncDispose]());

  /** As the controller does: until there is nothing left to do. */
  async function remove(drainTimeoutMs = 600_000): Promise<void> {
    await until('the relay is gone', () => scene.relays.remove(KEY, drainTimeoutMs));
  }
  const deleted = (annotations: Record<string, string> = {}): void => {
    const { metadata } = scene.object;
    const deletionTimestamp = new Date().toISOString();
    scene.object = { ...scene.object, metadata: { ...metadata, deletionTimestamp, annotations } };
  };
  const left = () =>
    scene.kubectl('get', 'sts,svc,pdb,netpol,secret,pod', '-l', 'chasqui.dev/owner-name=outbound', '-o', 'name');

  it('deliver what they hold first, and leave nothing but their volumes and their CA', async () => {
    await scene.untilReported(await scene.put({ replicas: 2 }));
    scene.open = false;
    await scene.send(1, 'last@dest.test');
    deleted();
    assert.equal(await scene.relays.remove(KEY, 600_000), false);
    await until('both drain', async () => {
      await scene.relays.remove(KEY, 600_000);
      return /^Draining(\+mail)? Draining\+mail/.test(scene.states);
    });
    scene.open = true;
    await scene.destination.received(1);
    await remove();
    assert.equal(await left(), 'secret/outbound-ca');
    assert.equal(await scene.drained(), 'spool-outbound-0 spool-outbound-1');
    assert.deepEqual(scene.events, []);
  });

  it('end at once where their owner says so, with an Event for each queue that is left', async () => {
    scene.open = false;
    await scene.untilReported(await scene.put({ replicas: 1 }));
    assert.equal(await scene.drained(), 'spool-outbound-1');
    await scene.send(0, 'kept@dest.test');
    deleted({ 'chasqui.dev/skip-drain': '' });
    await remove();
    assert.equal(await left(), 'secret/outbound-ca');
    assert.deepEqual(
      scene.events.map(({ reason, message }) => [reason, message.split(' ')[1]]),
      [['QueueKept', 'spool-outbound-0']],
    );
  });

  it('have their queue taken up by one of the same name', async () => {
    scene.open = true;
    await scene.untilReported(await scene.put({ replicas: 1 }));
    await scene.destination.received(2);
    assert.deepEqual(scene.destination.messages.at(-1)?.to, ['kept@dest.test']);
  });

  it('are waited for no longer than drainTimeout', async () => {
    scene.open = false;
    await scene.send(0, 'late@dest.test');
    deleted();
    const told = scene.events.length;
    await remove(1_500);
    assert.deepEqual(
      scene.events.slice(told).map(({ reason }) => reason),
      ['QueueKept'],
    );
  });
});
