/** What an API server makes of the CRDs: nothing to complain of, columns, scale, and defaults where a host has them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { domain, relay, user } from '../../crds/cases/manifests.ts';
import { KINDS } from '../../crds/kinds.ts';
import { valueAt } from '../../crds/problem.ts';
import { validateManifest } from '../../crds/validate.ts';
import { ApiServer, nameOfCrd } from './api-server.ts';

const ready = {
  ...{ type: 'Ready', status: 'True', reason: 'Ready', message: 'All is well.', observedGeneration: 1 },
  lastTransitionTime: '2026-01-01T00:00:00Z',
};

describe('an API server', () => {
  let api: ApiServer;
  let namespace: Awaited<ReturnType<ApiServer['namespace']>>;
  const kubectl = (...words: string[]) => api.kubectl.run(...words, `--namespace=${namespace.name}`);
  const inNamespace = (manifest: { metadata: object }) => ({
    ...manifest,
    metadata: { ...manifest.metadata, namespace: namespace.name },
  });

  before(async () => {
    api = await ApiServer.start();
    await api.applyCrds();
    namespace = await api.namespace();
    await api.kubectl.apply(...[relay(), domain(), user()].map(inNamespace));
    const status = (fields: object) => `--patch=${JSON.stringify({ status: { conditions: [ready], ...fields } })}`;
    const patch = (object: string, fields: object) =>
      kubectl('patch', object, '--subresource=status', '--type=merge', status(fields));
    await patch('smtprelay/outbound', { replicas: 1, readyReplicas: 1, selector: 'a=b' });
    await patch('maildomain/example-test', {});
    await patch('smtpuser/app', { secretName: 'app-smtp' });
  });
  after(async () => {
    await namespace?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  for (const definition of KINDS) {
    test(`takes the CRD of ${definition.kind} without a reservation`, async () => {
      const crd = await api.kubectl.json('get', 'crd', nameOfCrd(definition));
      const conditions = valueAt(crd, '/status/conditions');
      assert.ok(Array.isArray(conditions));
      // A schema that is not structural would be told by the condition NonStructuralSchema.
      assert.deepEqual(conditions.map(({ type, status }) => `${type}=${status}`).sort(), [
        'Established=True',
        'NamesAccepted=True',
      ]);
    });
  }

  const columns: [object: string, header: RegExp, row: RegExp][] = [
    ['relay', /^NAME +READY +REPLICAS +ACCEPTING +STATUS +AGE$/, /^outbound +True +1 +1 +Ready +\d+s$/],
    ['md', /^NAME +READY +DOMAIN +STATUS +AGE$/, /^example-test +True +example\.test +Ready +\d+s$/],
    ['su', /^NAME +READY +RELAY +SECRET +STATUS +AGE$/, /^app +True +outbound +app-smtp +Ready +\d+s$/],
  ];
  for (const [name, header, row] of columns) {
    test(`shows of ${name} what matters first`, async () => {
      const [first = '', second = ''] = (await kubectl('get', name)).split('\n');
      assert.match(first.trimEnd(), header);
      assert.match(second.trimEnd(), row);
      assert.match(await kubectl('get', name, '--output=wide'), /MESSAGE.*All is well\./s);
    });
  }

  for (const [object, manifest] of [
    ['smtprelay/outbound', relay()],
    ['maildomain/example-test', domain()],
    ['smtpuser/app', user()],
  ] as const) {
    test(`fills in the defaults of a ${manifest.kind} as a host does`, async () => {
      const stored: unknown = JSON.parse(await kubectl('get', object, '--output=json'));
      assert.deepEqual(valueAt(stored, '/spec'), validateManifest(manifest).object?.spec);
    });
  }

  test('scales a relay, and tells autoscalers its pods', async () => {
    await kubectl('scale', 'smtprelay/outbound', '--replicas=3');
    assert.equal(await kubectl('get', 'smtprelay/outbound', '--output=jsonpath={.spec.replicas}'), '3');
    const path = `/apis/chasqui.dev/v1alpha1/namespaces/${namespace.name}/smtprelays/outbound/scale`;
    const scale: unknown = JSON.parse(await api.kubectl.run('get', '--raw', path));
    assert.deepEqual(valueAt(scale, '/status'), { replicas: 1, selector: 'a=b' });
    const refused = await api.kubectl.attempt([
      'scale',
      'smtprelay/outbound',
      '--replicas=101',
      `--namespace=${namespace.name}`,
    ]);
    assert.match(refused.stderr, /spec\.replicas.*less than or equal to 100/);
  });

  test('keeps status and spec apart', async () => {
    await kubectl('patch', 'smtprelay/outbound', '--type=merge', '--patch={"status":{"replicas":9}}');
    assert.equal(await kubectl('get', 'smtprelay/outbound', '--output=jsonpath={.status.replicas}'), '1');
  });
});
