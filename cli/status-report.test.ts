import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Condition } from '../crds/common.ts';
import type { SmtpRelay, SmtpRelayStatus } from '../crds/smtprelay.ts';
import { completeSpec } from '../crds/validate.ts';
import { type Observed, report, reportText } from './status-report.ts';

const NOW = Date.parse('2026-01-01T01:00:00Z');

const condition = (type: string, status: Condition['status'], message = '', observedGeneration = 1): Condition => ({
  type,
  status,
  reason: status === 'True' ? 'Ready' : 'NoReadyReplica',
  message,
  observedGeneration,
  lastTransitionTime: '2026-01-01T00:00:00Z',
});

const relay = (status: SmtpRelayStatus, metadata: Partial<SmtpRelay['metadata']> = {}): SmtpRelay => ({
  apiVersion: 'chasqui.dev/v1alpha1',
  kind: 'SmtpRelay',
  metadata: {
    name: 'outbound',
    namespace: 'default',
    uid: 'u',
    generation: 1,
    creationTimestamp: '2026-01-01T00:00:00Z',
    ...metadata,
  },
  spec: completeSpec('SmtpRelay', {
    hostname: 'relay.example.test',
    listeners: [{ name: 'a', protocol: 'Submission', port: 587 }],
  }),
  status,
});

const observed = (one: SmtpRelay, more: Partial<Observed> = {}): Observed => ({
  state: './state',
  holder: 42,
  objects: [one],
  relays: [one],
  live: [],
  problems: [],
  ...more,
});

describe('everything is ready', () => {
  const good = relay({ conditions: [condition('Ready', 'True')] });

  test('when each object is, of its latest generation', () => {
    assert.equal(report(observed(good), NOW).ready, true);
  });

  const spoiled: [sentence: string, what: Observed][] = [
    ['an object is not', observed(relay({ conditions: [condition('Ready', 'False')] }))],
    ['an object was not judged yet', observed(relay({}))],
    ['an edit was not judged yet', observed(relay({ conditions: [condition('Ready', 'True')] }, { generation: 2 }))],
    [
      'an object is being deleted',
      observed(relay({ conditions: [condition('Ready', 'True')] }, { deletionTimestamp: '2026-01-01T00:30:00Z' })),
    ],
    ['a manifest is wrong', observed(good, { problems: [{ file: 'a.yaml', message: 'no YAML' }] })],
    [
      'an edit was refused',
      observed(relay({ conditions: [condition('Ready', 'True'), condition('ManifestValid', 'False')] })),
    ],
    ['there is no object', observed(good, { objects: [], relays: [] })],
    ['no standalone runs', { state: './state', objects: [good], relays: [good], live: [], problems: [] }],
  ];
  for (const [sentence, what] of spoiled) {
    test(`but not when ${sentence}`, () => assert.equal(report(what, NOW).ready, false));
  }
});

describe('a replica', () => {
  const replicas = relay({
    conditions: [condition('Ready', 'True')],
    replicaStates: [
      { ordinal: 0, state: 'Ready' },
      { ordinal: 1, state: 'Draining', queued: true },
      { ordinal: 2, state: 'Stopped', queued: true },
      { ordinal: 3, state: 'Unready' },
    ],
  });
  const status = {
    ordinal: 0,
    version: '1',
    configHash: 'x',
    rejected: [],
    ready: true,
    draining: false,
    reasons: [],
    queue: { messages: 3, deliveries: 4, oldestMs: NOW - 90_000 },
  };
  const seen = report(
    observed(replicas, {
      live: [
        { namespace: 'default', name: 'outbound', ordinal: 0, status },
        { namespace: 'default', name: 'outbound', ordinal: 3 },
      ],
    }),
    NOW,
  );

  test('that answers tells how much it holds, and since when', () => {
    assert.deepEqual(seen.replicas[0], {
      relay: 'default/outbound',
      ordinal: 0,
      state: 'Ready',
      messages: 3,
      queued: true,
      oldestMs: NOW - 90_000,
      reasons: [],
    });
    assert.match(reportText(seen, NOW), /default\/outbound-0 +Ready +3 +1m/);
  });

  test('that drains or has stopped with mail in its spool is shown with it', () => {
    assert.match(reportText(seen, NOW), /default\/outbound-1 +Draining +yes/);
    assert.match(reportText(seen, NOW), /default\/outbound-2 +Stopped +yes/);
  });

  test('whose queue nobody knows says so', () =>
    assert.match(reportText(seen, NOW), /default\/outbound-3 +Unready +unknown/));
});

test('the text tells of objects with reason and message, and of problems with file and field', () => {
  const text = reportText(
    report(
      observed(
        relay({
          conditions: [
            condition('Ready', 'False', 'replica 0 does not start'),
            condition('ManifestValid', 'False', 'spec.replicas must be at least 0'),
          ],
        }),
        {
          problems: [
            { file: 'user.yaml', object: 'SmtpUser/default/app', field: 'spec.senders', message: 'is required' },
          ],
        },
      ),
      NOW,
    ),
    NOW,
  );
  assert.match(text, /SmtpRelay +default +outbound +False +NoReadyReplica +1h +replica 0 does not start/);
  assert.match(text, /user.yaml +SmtpUser\/default\/app +spec.senders +is required/);
  assert.match(
    text,
    /SmtpRelay\/default\/outbound +spec.replicas must be at least 0 \(the last good version is in force\)/,
  );
});

test('an object that is right by itself and refused is a problem of its manifest', () => {
  const refused = {
    ...relay({ conditions: [condition('Accepted', 'False', 'spec.listeners: two of them have port 25.')] }),
    source: { file: 'relay.yaml' },
  };
  const seen = report(observed(refused), NOW);
  assert.deepEqual(seen.problems, [
    {
      file: 'relay.yaml',
      object: 'SmtpRelay/default/outbound',
      field: 'spec.listeners',
      message: 'two of them have port 25.',
    },
  ]);
});

test('a folder that nobody holds is said to be as it was left', () => {
  const { holder: _, ...left } = observed(relay({}));
  assert.match(reportText(report(left, NOW), NOW), /No standalone runs on .\/state/);
});
