import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SmtpRelaySpec } from '../../../../crds/smtprelay.ts';
import type { LiveObject } from '../api.ts';
import { groupOf, podTemplate } from '../fixtures/group.ts';
import { type Child, children } from './children.ts';
import { type LiveChild, planChildren, type Settled } from './children-plan.ts';
import { LABELS } from './identity.ts';
import { SECRET, SERVICE, STATEFUL_SET } from './kinds.ts';

const never: Settled = () => false;

const wantedOf = (spec: Partial<SmtpRelaySpec> = {}, storageSize = '10Gi', domains: readonly string[] = []) =>
  children(groupOf(spec, domains), { image: 'chasqui:1', replicas: 1, storageSize, served: new Set() });

/** As an API server keeps it: with what it adds. */
const stored = ({ kind, object }: Child): LiveChild => ({
  kind,
  object: {
    ...object,
    metadata: {
      ...{ ...object.metadata, namespace: 'mail', uid: `uid of ${object.metadata.name}`, resourceVersion: '1' },
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    status: {},
  },
});

/** What is in a cluster after the children were applied. */
function applied(wanted = wantedOf()): LiveChild[] {
  return planChildren(wanted, [], never).flatMap((step) => (step.step === 'create' ? [stored(step)] : []));
}

const edited = (live: readonly LiveChild[], name: string, edit: (object: LiveObject) => object): LiveChild[] =>
  live.map((child) =>
    child.object.metadata.name === name && child.kind === SERVICE
      ? { ...child, object: { ...child.object, ...edit(child.object) } }
      : child,
  );

const steps = (wanted: readonly Child[], live: readonly LiveChild[], settled = never) =>
  planChildren(wanted, live, settled).map(({ step, object }) => `${step} ${object.kind} ${object.metadata.name}`);

describe('what is written for a relay', () => {
  it('is everything at first', () => {
    assert.deepEqual(steps(wantedOf(), []), [
      'create Secret outbound-config',
      'create ServiceAccount outbound',
      'create Service outbound',
      'create Service outbound-pods',
      'create NetworkPolicy outbound',
      'create PodDisruptionBudget outbound',
      'create StatefulSet outbound',
    ]);
  });

  it('is nothing while all is as it was applied, whoever looks', () => {
    assert.deepEqual(steps(wantedOf(), applied()), []);
  });

  it('is what is missing, and nothing else', () => {
    const live = applied().filter(({ object }) => object.metadata.name !== 'outbound-pods');
    assert.deepEqual(steps(wantedOf(), live), ['create Service outbound-pods']);
  });

  it('is what another changed', () => {
    const live = edited(applied(), 'outbound', () => ({ spec: { type: 'NodePort' } }));
    const [step] = planChildren(wantedOf(), live, never);
    assert.equal(step?.step, 'apply');
    assert.equal('because' in step ? step.because : '', '.spec.type was changed by another');
  });

  it('is what the spec changed, and what it no longer says too', () => {
    assert.deepEqual(steps(wantedOf({ hostname: 'other.example.test' }), applied()), ['apply Secret outbound-config']);
    const selective = wantedOf(podTemplate({ nodeSelector: { disk: 'ssd' } }));
    assert.deepEqual(steps(wantedOf(), applied(selective)), ['apply StatefulSet outbound']);
  });

  it('is not what another goes on writing otherwise after it was applied', () => {
    const live = edited(applied(), 'outbound', () => ({ spec: { type: 'NodePort' } }));
    const settled: Settled = (uid, _, field) => uid === 'uid of outbound' && field === '.spec.type';
    assert.deepEqual(steps(wantedOf(), live, settled), []);
  });

  it('waits for what is being deleted to be gone', () => {
    const live = edited(applied(), 'outbound', ({ metadata }) => ({
      metadata: { ...metadata, deletionTimestamp: '2026-01-01T00:00:00Z' },
    }));
    assert.deepEqual(steps(wantedOf(), live), []);
  });
});

describe('what is deleted of a relay', () => {
  it('is a Service that is no longer listed, and a shard that has no entries any more, after the index', () => {
    const service: SmtpRelaySpec['services'][number] = {
      ...{ name: 'public', type: 'ClusterIP', listeners: [], annotations: {}, externalTrafficPolicy: 'Cluster' },
    };
    const live = applied(wantedOf({ services: [service] }, '10Gi', ['example.test']));
    assert.deepEqual(steps(wantedOf(), live), [
      'apply Secret outbound-config',
      'delete Secret outbound-domains-12',
      'delete Service outbound-public',
    ]);
  });

  it('is never a Secret that is not config, nor the replicas', () => {
    const [config] = applied();
    assert.ok(config);
    const { metadata } = config.object;
    const secret = (name: string, purpose: string): LiveChild => ({
      kind: SECRET,
      object: { ...config.object, metadata: { ...metadata, name, labels: { [LABELS.purpose]: purpose } } },
    });
    const live = [...applied(), secret('outbound-ca', 'ca'), secret('outbound-admin', 'admin')];
    assert.deepEqual(steps(wantedOf(), live), []);
    const set = applied().filter(({ kind }) => kind === STATEFUL_SET);
    assert.deepEqual(steps([], set), []);
  });
});

describe('a StatefulSet', () => {
  const remade: readonly [sentence: string, spec: Partial<SmtpRelaySpec>, size: string][] = [
    ['that asks for larger claims is made anew', {}, '20Gi'],
    ['that asks for claims of another class is made anew', { queue: withClass('fast') }, '10Gi'],
  ];
  for (const [sentence, spec, size] of remade) {
    it(`${sentence}, its pods left alone`, () => {
      assert.deepEqual(steps(wantedOf(spec, size), applied()), ['remake StatefulSet outbound']);
    });
  }

  it('that names no class any more is made anew', () => {
    const live = applied(wantedOf({ queue: withClass('fast') }));
    assert.deepEqual(steps(wantedOf(), live), ['remake StatefulSet outbound']);
  });

  it('is not made anew for a size that is only written otherwise', () => {
    assert.deepEqual(steps(wantedOf({}, '10240Mi'), applied()), ['apply StatefulSet outbound']);
  });
});

function withClass(storageClassName: string): SmtpRelaySpec['queue'] {
  const retentionPolicy = { whenScaled: 'Retain', whenDeleted: 'Retain' } as const;
  return { minFree: '128Mi', maxMessages: 5_000_000, storage: { size: '10Gi', storageClassName, retentionPolicy } };
}
