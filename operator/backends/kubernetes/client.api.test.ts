/** The client against a real API server: what it asks, and how refusals are told. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ApiServer, needsOwnApiServer } from '../../../test/cluster/api-server.ts';
import { NotLeader } from '../../runtime/lease.ts';
import type { ApiKind, ApiObject, WatchEvent } from './api.ts';
import { AlreadyExists, Conflict, Forbidden, Gone, Invalid, NotFound, Unavailable } from './api-error.ts';
import { Client } from './client.ts';
import { connect } from './connection.ts';

const CONFIG_MAP: ApiKind = { group: '', version: 'v1', kind: 'ConfigMap', plural: 'configmaps' };
const note = (name: string, data: Record<string, string> = {}): ApiObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default', labels: { test: 'client' } },
  data,
});
const at = (name: string) => ({ namespace: 'default', name });

describe('the client', () => {
  let api: ApiServer;
  let client: Client;
  let mayWrite = (): void => undefined;
  let connection: Awaited<ReturnType<typeof connect>>;
  before(async () => {
    api = await ApiServer.start();
    connection = await connect(api.kubeconfig);
    client = new Client({ connection, userAgent: 'test', writeTimeoutMs: 10_000, mayWrite: () => mayWrite() });
  });
  after(async () => {
    await connection?.close();
    await api?.[Symbol.asyncDispose]();
  });

  it('creates once', async () => {
    const created = await client.create(CONFIG_MAP, note('once', { a: '1' }));
    assert.deepEqual((await client.get(CONFIG_MAP, at('once'))).metadata, created.metadata);
    await assert.rejects(client.create(CONFIG_MAP, note('once')), AlreadyExists);
  });

  it('applies, and leaves what another holds unless it is forced', async () => {
    await api.kubectl.apply(note('shared', { a: 'theirs', b: 'theirs' }));
    await assert.rejects(client.apply(CONFIG_MAP, note('shared', { a: 'ours' }), { force: false }), Conflict);
    const { data } = await client.apply(CONFIG_MAP, note('shared', { a: 'ours' }), { force: true });
    assert.deepEqual(data, { a: 'ours', b: 'theirs' });
  });

  it('patches a version, and is refused when there is a newer one', async () => {
    const { metadata } = await client.create(CONFIG_MAP, note('versioned'));
    const patch = { metadata: { resourceVersion: metadata.resourceVersion }, data: { a: '1' } };
    assert.deepEqual((await client.patch(CONFIG_MAP, at('versioned'), patch)).data, { a: '1' });
    await assert.rejects(
      client.patch(CONFIG_MAP, at('versioned'), { ...patch, data: { a: '2' } }),
      (error) => error instanceof Conflict,
    );
  });

  it('deletes the object that was meant, and no other of its name', async () => {
    const { metadata } = await client.create(CONFIG_MAP, note('gone'));
    await assert.rejects(client.delete(CONFIG_MAP, at('gone'), { uid: 'another' }), Conflict);
    await client.delete(CONFIG_MAP, at('gone'), { uid: metadata.uid });
    await assert.rejects(client.get(CONFIG_MAP, at('gone')), NotFound);
    await assert.rejects(client.delete(CONFIG_MAP, at('gone')), NotFound);
  });

  it('lists page by page', async () => {
    for (const name of ['p1', 'p2', 'p3']) {
      await client.create(CONFIG_MAP, { ...note(name), metadata: { ...at(name), labels: { page: '' } } });
    }
    const first = await client.list(CONFIG_MAP, { namespace: 'default', labelSelector: 'page', limit: 2 });
    assert.ok(first.continue);
    const second = await client.list(CONFIG_MAP, {
      ...{ namespace: 'default', labelSelector: 'page', limit: 2, continue: first.continue },
    });
    assert.equal(second.continue, undefined);
    const names = [...first.items, ...second.items].map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    assert.deepEqual(names, ['ConfigMap p1', 'ConfigMap p2', 'ConfigMap p3']);
  });

  it('watches from a version on', async () => {
    const { metadata } = await client.create(CONFIG_MAP, note('watched'));
    await client.patch(CONFIG_MAP, at('watched'), { data: { a: '1' } });
    await client.delete(CONFIG_MAP, at('watched'));
    const seen: WatchEvent['type'][] = [];
    const options = { namespace: 'default', timeoutSeconds: 60, signal: AbortSignal.timeout(60_000) };
    for await (const { type } of client.watch(CONFIG_MAP, { ...options, resourceVersion: metadata.resourceVersion })) {
      seen.push(type);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, ['MODIFIED', 'DELETED']);
  });

  it('tells what is served', async () => {
    assert.ok((await client.served('', 'v1')).has('configmaps'));
    assert.equal((await client.served('nobody.example', 'v1')).size, 0);
  });

  it('tells what is refused', needsOwnApiServer, async () => {
    await assert.rejects(client.create(CONFIG_MAP, note('Wrong Name')), Invalid);
    const nobody = await connect((await api.user('nobody')).kubeconfig);
    try {
      const stranger = new Client({ connection: nobody, userAgent: 'x', writeTimeoutMs: 5_000, mayWrite: () => {} });
      await assert.rejects(stranger.get(CONFIG_MAP, at('once')), Forbidden);
    } finally {
      await nobody.close();
    }
  });

  it('tells that a namespace is going', async () => {
    await api.kubectl.run('create', 'namespace', 'going');
    await api.kubectl.run('delete', 'namespace', 'going', '--wait=false');
    const late = { ...note('late'), metadata: { name: 'late', namespace: 'going' } };
    await assert.rejects(
      client.create(CONFIG_MAP, late),
      (error) => error instanceof Forbidden && error.namespaceTerminating,
    );
  });

  it('writes nothing once it may not, however far the request has come', async () => {
    for (const asked of [1, 2]) {
      let times = 0;
      mayWrite = () => {
        times += 1;
        if (times >= asked) throw new NotLeader('the lease is lost');
      };
      await assert.rejects(client.create(CONFIG_MAP, note('never')), NotLeader);
      assert.equal(times, asked);
    }
    mayWrite = () => undefined;
    await assert.rejects(client.get(CONFIG_MAP, at('never')), NotFound);
  });

  it('opens few connections for many requests', async () => {
    await Promise.all(Array.from({ length: 100 }, () => client.get(CONFIG_MAP, at('once'))));
    const connected = Object.values(connection.requests.stats).map((of) => of.connected);
    assert.ok(connected.length === 1 && Number(connected[0]) <= 8, `${connected.join()} connections`);
  });

  it('says so when nobody answers', needsOwnApiServer, async () => {
    await api.pause();
    try {
      const impatient = client.with({ writeTimeoutMs: 300 });
      await assert.rejects(
        impatient.create(CONFIG_MAP, note('unheard')),
        (error) => error instanceof Unavailable && /no answer in time/.test(error.message),
      );
    } finally {
      api.resume();
    }
  });

  it('says Gone of a version that is too old to watch from', needsOwnApiServer, async () => {
    // An API server that starts knows nothing of what was before.
    await api.restart();
    const options = { resourceVersion: '1', timeoutSeconds: 60, signal: AbortSignal.timeout(60_000) };
    await assert.rejects(async () => {
      for await (const _ of client.watch(CONFIG_MAP, options)) break;
    }, Gone);
  });
});
