import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FailureStage, HostFailure, judgeFailure, judgeReply } from './classify.ts';

for (const [code, state] of [
  [250, 'delivered'],
  [251, 'delivered'],
  [354, 'deferred'],
  [421, 'deferred'],
  [450, 'deferred'],
  [452, 'deferred'],
  [550, 'bounced'],
  [554, 'bounced'],
] as const) {
  test(`${code} means ${state}`, () => assert.equal(judgeReply({ code, text: '' }).state, state));
}

const stages: readonly [FailureStage, string, string][] = [
  ['dns', '4.4.3', 'cannot look up mx.test: why'],
  ['connect', '4.4.1', 'cannot connect to mx.test: why'],
  ['greeting', '4.4.2', 'no session with mx.test: why'],
  ['tls', '4.7.5', 'cannot secure the connection to mx.test: why'],
  ['session', '4.4.2', 'lost the connection to mx.test: why'],
];
for (const [stage, enhanced, text] of stages) {
  test(`a failure at ${stage} defers with ${enhanced}`, () =>
    assert.deepEqual(judgeFailure(new HostFailure(stage, 'mx.test', 'why')), {
      state: 'deferred',
      reply: { code: 451, enhanced, text },
      ...(stage !== 'session' && { hostFailed: true }),
    }));
}

test('a host that turns the session away with 554 defers the message and is quoted', () => {
  const reply = { code: 554, text: 'no service here', host: 'mx.test' };
  assert.deepEqual(judgeFailure(new HostFailure('greeting', 'mx.test', 'refused', reply)), {
    state: 'deferred',
    reply,
    hostFailed: true,
  });
});
