import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OperatorEvent } from '../../backend.ts';
import { LoggedEvents } from './events.ts';

function scene() {
  const lines: string[] = [];
  const say = (level: string) => (fields: object, message: string) =>
    void lines.push(`${level}: ${message} ${JSON.stringify(fields)}`);
  let nowMs = 0;
  const log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  const events = new LoggedEvents(
    log,
    () => nowMs,
    () => 'app.yaml',
  );
  const emit = (message: string, type: OperatorEvent['type'] = 'Normal') =>
    events.emit({ kind: 'SmtpUser', key: { namespace: 'default', name: 'app' }, type, reason: 'Made', message });
  return {
    lines,
    emit,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

test('an event is a line with its object and reason; a warning names the manifest too', () => {
  const { lines, emit } = scene();
  emit('one');
  emit('two', 'Warning');
  assert.deepEqual(lines, [
    'info: one {"kind":"SmtpUser","namespace":"default","name":"app","reason":"Made"}',
    'warn: two {"kind":"SmtpUser","namespace":"default","name":"app","reason":"Made","file":"app.yaml"}',
  ]);
});

test('what was just told is told again only after ten minutes', () => {
  const { lines, emit, pass } = scene();
  emit('one');
  pass(599_999);
  emit('one');
  assert.equal(lines.length, 1);
  pass(1);
  emit('one');
  assert.equal(lines.length, 2);
});

test('what is remembered is bounded', () => {
  const { lines, emit } = scene();
  for (let index = 0; index <= 1_000; index++) emit(String(index));
  emit('1000');
  emit('0');
  assert.equal(lines.length, 1_002);
});
