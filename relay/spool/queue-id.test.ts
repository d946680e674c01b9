import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatQueueId, newSpoolId, parseQueueId } from './queue-id.ts';

test('a queue id names its spool and its row', () => {
  const spoolId = newSpoolId();
  for (const row of [1, 31, 32, 1023, 1024, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const queueId = formatQueueId(spoolId, row);
    assert.equal(parseQueueId(spoolId, queueId), row);
    assert.equal(parseQueueId(spoolId, queueId.toLowerCase()), row);
    assert.ok(queueId.startsWith(spoolId));
  }
});

test('what is not a queue id of this spool is not one', () => {
  const spoolId = '0123ABCD';
  for (const id of ['', '0123ABCD', '0123ABCE1', '0123ABCD01', '0123ABCDU', '0123ABCD1/..', '0123ABCDZZZZZZZZZZZ']) {
    assert.equal(parseQueueId(spoolId, id), undefined, id);
  }
});

test('spools have ids of their own', () => {
  assert.notEqual(newSpoolId(), newSpoolId());
  assert.match(newSpoolId(), /^[0-9A-HJKMNP-TV-Z]{8}$/);
});
