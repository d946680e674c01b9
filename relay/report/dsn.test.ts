import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import type { Envelope, Recipient } from '../spool/envelope.ts';
import { dsnContent, wantsFailure } from './dsn.ts';

const ENVELOPE: Envelope = {
  version: 1,
  mailFrom: 'ana@example.test',
  smtputf8: false,
  bodyType: '7BIT',
  envid: 'order-7',
  arrivedMs: Date.UTC(2026, 10, 24),
  sizeBytes: 10,
  bodyHash: '',
  headerBytes: 10,
};

const REFUSED: Recipient = {
  address: 'bo@example.org',
  orcpt: 'rfc822;bo@example.org',
  state: 'bounced',
  lastReply: { code: 550, enhanced: '5.1.1', text: 'no such user\r\nSmuggled: yes', host: 'mx.example.org' },
};
const EXPIRED: Recipient = { address: 'cy@example.org', state: 'expired', lastReply: { code: 451, text: 'later' } };

/** Python's email package: another reader than ours. */
function parsed(recipients: readonly Recipient[]): { type: string; to: string; parts: string[]; fields: string[][][] } {
  const { header, body } = dsnContent({
    queueId: 'Q1',
    envelope: ENVELOPE,
    recipients,
    headers: Buffer.from('From: ana@example.test\r\nSubject: The order\r\n\r\n'),
    hostname: 'relay.example.test',
    fromDomain: 'example.test',
    nowMs: Date.UTC(2026, 10, 25),
  });
  const script = `
import email, json, sys
from email import policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=policy.compat32)
parts = m.get_payload()
print(json.dumps({
  'type': m.get_content_type() + ' ' + m.get_param('report-type'),
  'to': m['To'],
  'parts': [p.get_content_type() for p in parts],
  'fields': [[list(pair) for pair in block.items()] for block in parts[1].get_payload()],
}))`;
  return JSON.parse(execFileSync('python3', ['-c', script], { input: Buffer.concat([header, body]) }).toString());
}

test('it is a multipart/report of three parts to the sender', () => {
  const { type, to, parts } = parsed([REFUSED]);
  assert.equal(type, 'multipart/report delivery-status');
  assert.equal(to, '<ana@example.test>');
  assert.deepEqual(parts, ['text/plain', 'message/delivery-status', 'text/rfc822-headers']);
});

test('each recipient has its status, and a reply of several lines cannot add a field', () => {
  const [message = [], refused = [], expired = []] = parsed([REFUSED, EXPIRED]).fields;
  assert.deepEqual(message, [
    ['Reporting-MTA', 'dns; relay.example.test'],
    ['Original-Envelope-Id', 'order-7'],
    ['Arrival-Date', 'Tue, 24 Nov 2026 00:00:00 +0000'],
  ]);
  assert.deepEqual(refused, [
    ['Original-Recipient', 'rfc822;bo@example.org'],
    ['Final-Recipient', 'rfc822; bo@example.org'],
    ['Action', 'failed'],
    ['Status', '5.1.1'],
    ['Remote-MTA', 'dns; mx.example.org'],
    ['Diagnostic-Code', 'smtp; 550 5.1.1 no such user  Smuggled: yes'],
    ['Last-Attempt-Date', 'Wed, 25 Nov 2026 00:00:00 +0000'],
  ]);
  assert.deepEqual(expired.slice(0, 3), [
    ['Final-Recipient', 'rfc822; cy@example.org'],
    ['Action', 'failed'],
    ['Status', '5.4.7'],
  ]);
});

test('who asked for no notice gets none', () => {
  assert.equal(wantsFailure({ ...REFUSED, notify: ['NEVER'] }), false);
  assert.equal(wantsFailure({ ...REFUSED, notify: ['SUCCESS'] }), false);
  assert.equal(wantsFailure({ ...REFUSED, notify: ['DELAY', 'FAILURE'] }), true);
  assert.equal(wantsFailure(REFUSED), true);
});
