/** Watches of a real API server: what is told, and what survives its restarts. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiServer, needsOwnApiServer } from '../../../test/cluster/api-server.ts';
import type { ApiKind } from './api.ts';
import { Client } from './client.ts';
import { type Connection, connect } from './connection.ts';
import { Watched } from './watched.ts';

const CONFIG_MAP: ApiKind = { group: '', version: 'v1', kind: 'ConfigMap', plural: 'configmaps' };
const note = (name: string, namespace: string, data: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, labels: { test: 'watched' } },
  data,
});

describe('a watch of an API server', needsOwnApiServer, () => {
  let api: ApiServer;
  let connection: Connection;
  let client: Client;
  before(async () => {
    api = await ApiServer.start({ audit: true });
    connection = await connect(api.kubeconfig);
    client = new Client({ connection, userAgent: 'watcher', writeTimeoutMs: 10_000, mayWrite: () => undefined });
    for (const namespace of ['a', 'b', 'c']) await api.kubectl.run('create', 'namespace', namespace);
  });
  after(async () => {
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
  });

  function watched(t: TestContext, namespaces?: readonly string[], times = {}) {
    const changes: string[] = [];
    const failures: string[] = [];
    const notes = new Watched<unknown>({
      api: client,
      kind: CONFIG_MAP,
      namespaces,
      labelSelector: 'test=watched',
      decode: ({ data }) => data ?? {},
      changed: ({ namespace, name }, now) => changes.push(`${namespace}/${name} ${JSON.stringify(now) ?? 'is gone'}`),
      failed: (error) => failures.push(error instanceof Error ? error.message : String(error)),
      times: { backoff: { firstMs: 20, lastMs: 200 }, ...times },
    });
    t.after(() => notes.stop());
    return { notes, changes, failures };
  }

  it('tells of the namespaces it is for, and of no other', async (t) => {
    await api.kubectl.apply(note('before', 'a', { x: '1' }), note('before', 'c'));
    const { notes, changes } = watched(t, ['a', 'b']);
    await notes.start();
    assert.deepEqual(changes, ['a/before {"x":"1"}']);
    await api.kubectl.apply(note('later', 'c'), note('later', 'b', { y: '1' }));
    await until('what comes later is told', () => changes.length === 2);
    await api.kubectl.run('delete', 'configmap', 'before', '-n', 'a');
    await until('what goes is told', () => changes.length === 3);
    assert.deepEqual(changes.slice(1), ['b/later {"y":"1"}', 'a/before is gone']);
    assert.deepEqual(notes.list(), [{ y: '1' }]);
  });

  it('goes on after a restart of the API server, which knows nothing of the version it had', async (t) => {
    await api.kubectl.apply(note('kept', 'a'), note('doomed', 'a'));
    const { notes, changes, failures } = watched(t, ['a']);
    await notes.start();
    await api.stop();
    await until('it notices', () => failures.length > 0);
    assert.equal(notes.list().length, 2, 'what it knew it still knows');
    await api.restart();
    await api.kubectl.run('delete', 'configmap', 'doomed', '-n', 'a');
    await until('it has heard', () => changes.includes('a/doomed is gone'));
    await api.kubectl.apply(note('kept', 'a', { z: '1' }));
    await until('it goes on', () => changes.includes('a/kept {"z":"1"}'));
    assert.ok(!changes.includes('a/kept is gone'));
  });

  it('notices an API server that keeps the connection and says nothing more', async (t) => {
    const { notes, failures, changes } = watched(t, ['b'], { silenceMs: 500 });
    await notes.start();
    await api.pause();
    try {
      await until('it gives the watch up', () => failures.some((failure) => /told nothing/.test(failure)));
    } finally {
      api.resume();
    }
    await api.kubectl.apply(note('at-last', 'b'));
    await until('it goes on', () => changes.some((change) => change.startsWith('b/at-last')));
  });
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await sleep(10);
  }
}
