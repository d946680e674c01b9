/**
 * A relay of real pods is made smaller while its destination takes no mail: what the pods that go hold moves to the one
 * that stays, so their volumes may be deleted with all that is on them, and every message arrives, once.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Installation } from '../chart/installation.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { destinationPod, destinationService, mailDomain, openRelay } from '../cluster/load.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

const EACH = 5;

describe('a relay of three pods', () => {
  let here: Installation;
  let cluster: Cluster;
  let namespace: string;
  const kubectl = (...words: readonly string[]) => here.kubectl(...words);
  const eventually = (words: readonly string[], like: RegExp) => here.eventually(words, like);
  const relay = (jsonpath: string) => ['get', 'smtprelay', 'outbound', `--output=jsonpath=${jsonpath}`];
  const restarts = () =>
    kubectl(
      'get',
      'pods',
      '--selector=app.kubernetes.io/name=chasqui-relay',
      '--output=jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}',
    );

  before(async () => {
    here = await Installation.begin();
    cluster = here.cluster;
    namespace = here.namespace.name;
  });
  after(async () => here?.[Symbol.asyncDispose]());

  test('takes mail in each of them, though nobody answers at the destination', async () => {
    await cluster.kubectl.apply(
      destinationService(namespace),
      openRelay(namespace, 'outbound', { replicas: 3 }),
      mailDomain(namespace, 'example', 'example.test', ['outbound']),
    );
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', 'maildomain/example', '--timeout=2m');
    for (const ordinal of [0, 1, 2]) {
      await using forward = await cluster.forward(namespace, `pod/outbound-${ordinal}`, 10_025);
      await using client = await SmtpClient.connect(forward.port);
      await client.talk(['EHLO client.test', '250']);
      for (let number = 0; number < EACH; number++) {
        await client.talk(
          ['MAIL FROM:<app@example.test>', '250'],
          [`RCPT TO:<to-${ordinal}-${number}@dest.test>`, '250'],
          ['DATA', '354'],
        );
        assert.match(await client.content('From: app@example.test\r\nSubject: Hello\r\n\r\nHello\r\n'), /^250 /);
      }
    }
  });

  test('puts an edit in force within seconds, in the same containers', async (t) => {
    const before = await restarts();
    const beganMs = performance.now();
    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', '--patch={"spec":{"limits":{"recipients":500}}}');
    await eventually(
      relay('{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type=="Programmed")].status}'),
      /^2 2 True$/,
    );
    t.diagnostic(`${Math.round(performance.now() - beganMs)} ms, kubectl included`);
    assert.equal(await restarts(), before);
  });

  test('shrinks to one, and keeps nothing on the volumes of the others', async () => {
    await kubectl('scale', 'smtprelay/outbound', '--replicas=1');
    await eventually(relay('{.status.replicaStates[*].state}'), /^Ready Stopped Stopped$/);
    await kubectl('wait', '--for=delete', 'pod/outbound-1', 'pod/outbound-2', '--timeout=60s');
    await kubectl('delete', 'pvc', 'spool-outbound-1', 'spool-outbound-2', '--timeout=60s');
  });

  test('delivers every message once, when somebody answers', async () => {
    await cluster.kubectl.apply(destinationPod(namespace, here.image.released));
    await kubectl('wait', '--for=condition=Ready', 'pod/destination', '--timeout=60s');
    await eventually(['logs', 'destination'], new RegExp(`^(.*"to":.*\\n){${3 * EACH}}$`));
    await eventually(relay('{.status.conditions[?(@.type=="QueueHealthy")].status}'), /^True$/);
    const arrived = (await kubectl('logs', 'destination')).split('\n').map((line): string[] => JSON.parse(line).to);
    const expected = [0, 1, 2].flatMap((ordinal) =>
      Array.from({ length: EACH }, (_, number) => `to-${ordinal}-${number}@dest.test`),
    );
    assert.deepEqual(arrived.flat().sort(), expected.sort());
  });
});
