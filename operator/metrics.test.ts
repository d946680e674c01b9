import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operatorMetrics, verifiedSamples } from './metrics.ts';

test('work that does not end is told for as long as it lasts, with the object that has lasted longest', async () => {
  let atMs = 1_000;
  const metrics = operatorMetrics({
    ...{ objects: { list: () => [] }, keptKeys: () => [], leading: () => true },
    nowMs: () => 0,
    elapsedMs: () => atMs,
  });
  const told = async (of: string) => {
    const { text } = await metrics.page();
    const value = (what: string) =>
      Number(new RegExp(`^workqueue_${what}_seconds\\{name="${of}"\\} (\\S+)$`, 'm').exec(text)?.[1]);
    return { unfinished: value('unfinished_work'), longest: value('longest_running_processor') };
  };
  assert.deepEqual(await told('maildomain'), { unfinished: 0, longest: 0 });

  metrics.queue.began('MailDomain/mail/one', 0);
  atMs += 2_000;
  metrics.queue.began('MailDomain/mail/two', 0);
  atMs += 500;
  assert.deepEqual(await told('maildomain'), { unfinished: 3, longest: 2.5 });
  assert.deepEqual(await told('smtpuser'), { unfinished: 0, longest: 0 });

  metrics.queue.ended('MailDomain/mail/one', 2_500, 'Done');
  assert.deepEqual(await told('maildomain'), { unfinished: 0.5, longest: 0.5 });
  metrics.queue.ended('MailDomain/mail/two', 500, 'Failed');
  assert.deepEqual(await told('maildomain'), { unfinished: 0, longest: 0 });
});

test('whether DNS has the records of a domain is told once it was found out', () => {
  const domain = (name: string, ...verified: readonly ('True' | 'False' | 'Unknown')[]) => ({
    metadata: { namespace: 'mail', name },
    status: { conditions: verified.map((status) => ({ type: 'DnsVerified', status })) },
  });
  const told = verifiedSamples([
    ...[domain('right', 'True'), domain('wrong', 'False'), domain('silent', 'Unknown'), domain('new')],
    { metadata: { namespace: 'mail', name: 'newest' } },
  ]);
  assert.deepEqual(told, [
    [{ namespace: 'mail', name: 'right' }, 1],
    [{ namespace: 'mail', name: 'wrong' }, 0],
  ]);
});
