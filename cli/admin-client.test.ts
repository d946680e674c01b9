import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { queuedMessage, queuePage, ReplicaUnreachable, replicaStatus } from './admin-client.ts';
import { findMessage, listQueues, messageText, queueTable } from './queue-view.ts';

const message = (queueId: string, arrivedMs: number) => ({
  queueId,
  envelope: {
    version: 1,
    mailFrom: 'a@example.test',
    smtputf8: false,
    bodyType: '7BIT',
    arrivedMs,
    sizeBytes: 2048,
    user: 'app.default',
    bodyHash: 'x',
    headerBytes: 10,
  },
  deliveries: [
    {
      destination: 'example.org',
      state: 'deferred',
      attempts: 2,
      dueMs: 400_000,
      recipients: [
        {
          address: 'b@example.org',
          state: 'deferred',
          lastReply: { code: 451, enhanced: '4.7.1', text: 'try later', host: 'mx.example.org' },
        },
      ],
    },
  ],
});

const answering =
  (answers: Record<string, unknown>): RequestListener =>
  (request, response) => {
    const answer = answers[request.url ?? ''];
    response.statusCode = answer === undefined ? 404 : 200;
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer ?? { error: 'not found' }));
  };

/** A state folder in which replicas answer, each on its socket. */
async function stateWith(t: TestContext, replicas: Record<string, RequestListener>): Promise<string> {
  const state = mkdtempSync(join(tmpdir(), 'admin-'));
  mkdirSync(join(state, 'run'));
  for (const [name, listener] of Object.entries(replicas)) {
    const server = createServer(listener).listen(join(state, 'run', `${name}.sock`));
    await once(server, 'listening');
    t.after(() => server.close());
  }
  t.after(() => rmSync(state, { recursive: true, force: true }));
  return state;
}

test('a replica tells its status', async (t) => {
  const status = {
    ordinal: 0,
    version: '1',
    configHash: 'h',
    rejected: [],
    ready: true,
    draining: false,
    queue: { messages: 1, deliveries: 2 },
    reasons: [],
  };
  const state = await stateWith(t, { 'default.r-0': answering({ '/v1/status': status }) });
  assert.deepEqual(await replicaStatus(join(state, 'run/default.r-0.sock')), status);
});

test('a replica that is gone, that answers no JSON, or other JSON, is unreachable', async (t) => {
  const state = await stateWith(t, {
    'default.r-0': answering({ '/v1/status': '<html>', '/v1/queue?limit=5': { messages: [{}] } }),
  });
  const socket = join(state, 'run/default.r-0.sock');
  await assert.rejects(replicaStatus(socket), ReplicaUnreachable);
  await assert.rejects(queuePage(socket, {}, 5, undefined), ReplicaUnreachable);
  await assert.rejects(replicaStatus(join(state, 'run/default.r-1.sock')), ReplicaUnreachable);
});

test('a queue id cannot ask for another path', async (t) => {
  const asked: (string | undefined)[] = [];
  const state = await stateWith(t, {
    'default.r-0': (request, response) => {
      asked.push(request.url);
      response.writeHead(404).end('{}');
    },
  });
  assert.equal(await queuedMessage(join(state, 'run/default.r-0.sock'), '../status?x'), undefined);
  assert.deepEqual(asked, ['/v1/queue/..%2Fstatus%3Fx']);
});

test('the queues of all replicas are one list, oldest first; a replica that does not answer is told', async (t) => {
  const state = await stateWith(t, {
    'default.r-0': answering({ '/v1/queue?limit=10': { messages: [message('B2', 200_000)] } }),
    'default.r-1': answering({ '/v1/queue?limit=10': { messages: [message('A1', 100_000)] } }),
    'mail.r-0': answering({ '/v1/queue?limit=10': 'nonsense' }),
  });
  const { messages, unreachable } = await listQueues(state, 10);
  assert.deepEqual(
    messages.map(({ queueId, replica }) => [queueId, replica]),
    [
      ['A1', 'default/r-1'],
      ['B2', 'default/r-0'],
    ],
  );
  assert.deepEqual(
    unreachable.map(({ replica }) => replica),
    ['mail/r-0'],
  );
  const [, first] = queueTable(messages, 280_000).split('\n');
  assert.match(
    first ?? '',
    /^A1 +default\/r-1 +3m +2.0Ki +a@example.test +b@example.org +2 +in 2m +451 4.7.1 try later \(mx.example.org\)$/,
  );
});

test('a message is found at whichever replica has it', async (t) => {
  const state = await stateWith(t, {
    'default.r-0': answering({}),
    'default.r-1': answering({ '/v1/queue/A1': message('A1', 100_000) }),
  });
  const found = await findMessage(state, 'A1');
  assert.equal(found.replica, 'default/r-1');
  assert.match(
    messageText(found, 280_000),
    /Submitted by: +app.default[\s\S]*b@example.org +deferred +example.org +2 +in 2m +451 4.7.1/,
  );
  await assert.rejects(findMessage(state, 'A2'), /A2 is not queued: it was delivered or returned/);
});

test('nobody is asked where no relay runs', async (t) => {
  await assert.rejects(listQueues(await stateWith(t, {}), 10), /no relay runs/);
});

test('a socket with a path that is too long for a socket is reached all the same', async (t) => {
  const before = process.cwd();
  t.after(() => process.chdir(before));
  const deep = join(mkdtempSync(join(tmpdir(), 'deep-')), 'x'.repeat(60), 'y'.repeat(60));
  mkdirSync(deep, { recursive: true });
  t.after(() => rmSync(deep, { recursive: true, force: true }));
  process.chdir(deep);
  const server = createServer(answering({ '/v1/queue?limit=1': { messages: [] } })).listen('default.r-0.sock');
  await once(server, 'listening');
  t.after(() => server.close());
  process.chdir(before);
  assert.deepEqual(await queuePage(join(deep, 'default.r-0.sock'), {}, 1, undefined), { messages: [] });
});
