/** A relay whose delivery is suspended takes mail and keeps it, over restarts too, until an edit lets it go on. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const MESSAGES = 5;

test('mail is taken and kept while delivery is suspended, and goes when it no longer is, from the same process', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  let greetedAt = 0;
  await using destination = await Destination.start({
    react: () => {
      greetedAt ||= performance.now();
      return undefined;
    },
  });
  const manifest = relay({ port, submission, monitoring, destination: destination.port });
  await using standalone = await Standalone.start({
    'relay.yaml': manifest.replace('expireAfter: 10m}', 'expireAfter: 10m}\n    suspended: true'),
    'domain.yaml': domain(),
  });
  for (const id of [RELAY, DOMAIN]) await standalone.untilReady(id);
  const pids = standalone.replicaPids();
  // Each takes longer than a delivery does: the first would have come to its destination before the last is taken.
  for (let i = 0; i < MESSAGES; i += 1) await send(port, `message ${i}`);
  const editedAt = performance.now();
  standalone.edit('relay.yaml', (text) => text.replace('suspended: true', 'suspended: false'));
  await destination.received(MESSAGES);
  assert.ok(greetedAt > editedAt, 'nothing was sent before');
  assert.deepEqual(standalone.replicaPids(), pids);
});
