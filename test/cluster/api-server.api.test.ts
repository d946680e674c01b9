/** The API server that tests start: its users, its stops, what it tells of requests, and its controllers. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ApiServer, needsOwnApiServer } from './api-server.ts';

const NOTE = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'note', namespace: 'default' } };

describe('an API server of a test', needsOwnApiServer, () => {
  test('lets a user do only what a role says', async () => {
    await using api = await ApiServer.start({ audit: true });
    const ada = await api.user('ada', ['tenants']);
    const refused = await ada.attempt(['get', 'configmaps']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /User "ada" cannot list resource "configmaps"/);

    await api.kubectl.run('create', 'role', 'reader', '--verb=get', '--resource=configmaps');
    await api.kubectl.run('create', 'rolebinding', 'tenants', '--role=reader', '--group=tenants');
    await api.kubectl.apply(NOTE);
    // The API server learns of a binding as anybody does: by its watch.
    assert.match(await ada.eventually(['get', 'configmap', 'note', '--output=name']), /configmap\/note/);

    const asked = (await api.audit()).filter(({ user }) => user.username === 'ada');
    const told = asked
      .filter(({ objectRef }) => objectRef?.resource === 'configmaps')
      .map(({ verb, objectRef, responseStatus }) => [verb, objectRef?.name, responseStatus?.code]);
    assert.deepEqual(told[0], ['list', undefined, 403]);
    assert.deepEqual(told.at(-1), ['get', 'note', 200]);
  });

  test('keeps what it has over a stop, and is silent while it is paused', async () => {
    await using api = await ApiServer.start();
    await api.kubectl.apply(NOTE);
    await api.stop();
    assert.match((await api.kubectl.attempt(['get', 'configmaps'])).stderr, /refused/);
    await api.restart();
    assert.match(await api.kubectl.run('get', 'configmap', 'note', '--output=name'), /configmap\/note/);

    await api.pause();
    const silent = await api.kubectl.attempt(['get', 'configmap', 'note', '--request-timeout=2s']);
    assert.equal(silent.code, 1);
    api.resume();
    assert.match(await api.kubectl.run('get', 'configmap', 'note', '--output=name'), /configmap\/note/);
  });

  test('makes pods of StatefulSets where controllers are asked for', async () => {
    await using api = await ApiServer.start({ controllers: true });
    const labels = { app: 'x' };
    const spec = { containers: [{ name: 'x', image: 'local.test/x:1' }] };
    await api.kubectl.apply({
      ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: 'x', namespace: 'default' } },
      spec: { serviceName: 'x', selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
    });
    await api.kubectl.run('wait', '--for=create', 'pod/x-0', '--timeout=60s');
    await api.kubectl.run('create', 'serviceaccount', 'robot');
    const robot = await api.serviceAccount('default', 'robot');
    assert.match(await robot.run('auth', 'whoami'), /system:serviceaccount:default:robot/);
  });
});
