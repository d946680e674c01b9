/** Replicas in a cluster are scaled, and their volumes grow: no mail is lost, and no pod restarted for it. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SmtpClient } from '../../../test/harness/smtp-client.ts';
import { queueOf, Scene, until } from './fixtures/scene.ts';

describe('replicas in a cluster', { timeout: 240_000 }, () => {
  let scene: Scene;
  before(async () => {
    scene = await Scene.start(2);
  });
  after(() => scene?.[Symbol.asyncDispose]());

  it('of which fewer are wanted, hand their mail over and go, and no message is lost or doubled', async () => {
    scene.open = false;
    await scene.untilReported(await scene.put({ replicas: 3 }));
    for (const ordinal of [0, 1, 2]) await scene.send(ordinal, `to-${ordinal}@dest.test`);
    await scene.put({ replicas: 1 });
    await scene.untilStates('Ready Stopped Stopped');
    assert.equal(await scene.drained(), 'spool-outbound-1 spool-outbound-2');
    assert.equal(await scene.kubectl('get', 'sts', 'outbound', '-o', 'jsonpath={.spec.replicas}'), '1');
    assert.equal(scene.destination.messages.length, 0);
    scene.open = true;
    await scene.destination.received(3);
    const recipients = scene.destination.messages.flatMap(({ to }) => to);
    assert.deepEqual(recipients.sort(), ['to-0@dest.test', 'to-1@dest.test', 'to-2@dest.test']);
  });

  it('of which fewer are wanted, take the message that a client is about to hand over, and go after it', async () => {
    await scene.untilReported(await scene.put({ replicas: 3 }));
    await using sender = await SmtpClient.connect(10_025, { host: scene.node.addressOf(1) });
    await sender.talk(
      ['EHLO client.test', '250'],
      ['MAIL FROM:<app@example.test>', '250'],
      ['RCPT TO:<slow@dest.test>', '250'],
      ['DATA', '354'],
    );
    await scene.put({ replicas: 1 });
    // The one above it went, so the operator has looked at both.
    await scene.untilStates('Ready Draining Stopped');
    assert.equal(await scene.drained(), 'spool-outbound-2');
    const label = 'jsonpath={range .items[*]}{.metadata.name}={.metadata.labels.chasqui\\.dev/accepts-mail} {end}';
    assert.equal(await scene.kubectl('get', 'pods', '-o', label), 'outbound-0=true outbound-1=false');
    assert.match(await sender.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
    await scene.untilStates('Ready Stopped Stopped');
    await scene.destination.received(4);
    assert.deepEqual(scene.destination.messages.at(-1)?.to, ['slow@dest.test']);
  });

  it('of which a queue is left behind, have its replica started again until it is empty', async () => {
    await scene.kubectl('annotate', 'pvc', 'spool-outbound-2', 'chasqui.dev/drained-');
    await until('ordinal 2 runs again', () => scene.states === 'Ready Draining Draining');
    await scene.untilStates('Ready Stopped Stopped');
    assert.equal(await scene.drained(), 'spool-outbound-1 spool-outbound-2');
  });

  it('of which more are wanted again, take mail in all of them, and no claim says it is empty', async () => {
    await scene.untilReported(await scene.put({ replicas: 2 }));
    assert.equal(await scene.drained(), 'spool-outbound-2');
    await scene.send(1, 'again@dest.test');
    await scene.destination.received(5);
  });

  it('keep their pods while their volumes grow, and ask for the new size where there will be further ones', async () => {
    const before = await scene.podUids();
    await scene.put({ replicas: 2, queue: queueOf('2Gi') });
    const sizes = ['get', 'pvc', '-o', 'jsonpath={.items[*].spec.resources.requests.storage}'];
    await scene.eventually(sizes, /^2Gi 2Gi 2Gi$/);
    const template = '{.spec.volumeClaimTemplates[0].spec.resources.requests.storage} {.status.readyReplicas}';
    const set = ['get', 'sts', 'outbound', '-o', `jsonpath=${template}`];
    await scene.eventually(set, /^2Gi 2$/);
    assert.equal(await scene.podUids(), before);
  });

  it('never shrink a volume', async () => {
    await scene.untilReported(await scene.put({ replicas: 2, queue: queueOf('1Gi') }));
    const template = 'jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage}';
    assert.equal(await scene.kubectl('get', 'sts', 'outbound', '-o', template), '2Gi');
  });

  it('that are gone have their volumes deleted where the spec asks for it, if they are empty', async () => {
    const queue = queueOf('1Gi');
    const retentionPolicy = { whenScaled: 'DeleteIfEmpty', whenDeleted: 'Retain' } as const;
    await scene.put({ replicas: 1, queue: { ...queue, storage: { ...queue.storage, retentionPolicy } } });
    await scene.eventually(['get', 'pvc', '-o', 'jsonpath={.items[*].metadata.name}'], /^spool-outbound-0$/);
  });
});
