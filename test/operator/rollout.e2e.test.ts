/**
 * Pods of a relay are replaced, one by one and at random, while clients send mail that never try anything again: none of
 * them is refused or cut off, and what was taken arrives, once.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Installation } from '../chart/installation.ts';
import { allArrived, destinationPod, destinationService, Load, mailDomain, openRelay } from '../cluster/load.ts';

describe('pods of a relay under load', () => {
  let here: Installation;
  let namespace: string;
  const kubectl = (...words: readonly string[]) => here.kubectl(...words);

  before(async () => {
    here = await Installation.begin();
    namespace = here.namespace.name;
    await here.cluster.kubectl.apply(
      destinationService(namespace),
      destinationPod(namespace, here.image.released),
      openRelay(namespace, 'outbound', { replicas: 2 }),
      mailDomain(namespace, 'example', 'example.test', ['outbound']),
    );
    await kubectl('wait', '--for=condition=Ready', 'pod/destination', '--timeout=60s');
    await kubectl('wait', '--for=condition=Ready', 'smtprelay/outbound', 'maildomain/example', '--timeout=2m');
  });
  after(async () => here?.[Symbol.asyncDispose]());

  test('are replaced by an update and deleted by hand, and no client notices', async (t) => {
    const clients = { 'client-a': 'outbound', 'client-b': 'outbound' };
    const load = await Load.begin(here.cluster.kubectl, { namespace, clients });
    const uids = () =>
      kubectl('get', 'pods', '-l', 'app.kubernetes.io/name=chasqui-relay', '-o', 'jsonpath={.items[*].metadata.uid}');
    const former = (await uids()).split(' ');

    await kubectl('patch', 'smtprelay', 'outbound', '--type=merge', `--patch={"spec":{"image":"${here.image.name}"}}`);
    const images = [
      'get',
      'pods',
      '-l',
      'app.kubernetes.io/name=chasqui-relay',
      '-o',
      'jsonpath={.items[*].spec.containers[0].image}',
    ];
    await here.eventually(images, new RegExp(`^${here.image.name} ${here.image.name}$`));
    await kubectl('rollout', 'status', 'statefulset/outbound', '--timeout=2m');
    for (const ordinal of [0, 1, 0]) {
      await kubectl('delete', 'pod', `outbound-${ordinal}`);
      await kubectl('rollout', 'status', 'statefulset/outbound', '--timeout=2m');
      await kubectl('wait', '--for=condition=Ready', `pod/outbound-${ordinal}`, '--timeout=60s');
    }
    const now = (await uids()).split(' ');
    assert.ok(now.length === 2 && !now.some((uid) => former.includes(uid)), 'both were replaced');

    const taken = await load.end();
    t.diagnostic(`${taken.length} messages taken`);
    await allArrived(here.cluster.kubectl, namespace, taken);
  });
});
