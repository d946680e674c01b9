import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import Type from 'typebox';
import { dispatcher } from './dispatch.ts';
import { type Caller, Problem, route } from './route.ts';

const faults: unknown[] = [];
let caller: Caller = { role: 'operate', name: 'socket' };

const routes = [
  route({
    method: 'GET',
    path: '/v1/things',
    role: 'view',
    summary: 'Things',
    query: Type.Object({ limit: Type.Optional(Type.Integer({ maximum: 10 })), all: Type.Optional(Type.Boolean()) }),
    answer: Type.Unknown(),
    handle: async ({ query }) => query,
  }),
  route({
    method: 'GET',
    path: '/v1/things/{id}',
    role: 'view',
    summary: 'A thing',
    answer: Type.Unknown(),
    handle: async ({ params }) => {
      if (params.id === 'none') throw new Problem(404, 'no such thing');
      if (params.id === 'fault') throw new Error('the disk is gone');
      return params;
    },
  }),
  route({
    method: 'POST',
    path: '/v1/things/change',
    role: 'operate',
    summary: 'Changes things',
    body: Type.Object({ to: Type.String() }, { additionalProperties: false }),
    largestBodyBytes: 100,
    answer: Type.Unknown(),
    handle: async ({ body, caller: { name } }) => ({ to: body.to, name }),
  }),
];
const server = createServer(
  dispatcher({ routes, authenticate: async () => caller, problem: (error) => faults.push(error) }),
);
let port = 0;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
after(() => server.close());

async function ask(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
  const asking = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false });
  asking.end(body);
  const [response] = await once(asking, 'response');
  const said = await text(response);
  return { code: response.statusCode, headers: response.headers, body: said === '' ? undefined : JSON.parse(said) };
}

test('query parameters are typed by their schema, and others than those are refused', async () => {
  assert.deepEqual((await ask('GET', '/v1/things?limit=3&all=true')).body, { limit: 3, all: true });
  for (const query of ['limit=11', 'limit=x', 'limit=-1', 'limit=1&limit=2', 'lmit=1', 'all=yes']) {
    const { code, headers, body } = await ask('GET', `/v1/things?${query}`);
    assert.deepEqual([query, code, headers['content-type']], [query, 400, 'application/problem+json']);
    assert.match(body.detail, /^the query is wrong: (limit|lmit|all) /);
    assert.deepEqual([body.title, body.status], ['Bad Request', 400]);
  }
});

test('a parameter of a path is one decoded segment; a path that is written out goes before it', async () => {
  assert.deepEqual((await ask('GET', '/v1/things/a%2Fb')).body, { id: 'a/b' });
  assert.equal((await ask('GET', '/v1/things/a/b')).code, 404);
  assert.equal((await ask('GET', '/v1/things/')).code, 404);
  assert.equal((await ask('GET', '/v1/things/%ff')).code, 400);
  assert.equal((await ask('POST', '/v1/things/change', '{"to":"x"}')).body.to, 'x');
});

test('what is not there is 404, with a word on where to look; what a handler refuses is told as it says', async () => {
  assert.match((await ask('GET', '/v2')).body.detail, /openapi\.json/);
  const { code, body } = await ask('GET', '/v1/things/none');
  assert.deepEqual([code, body.detail], [404, 'no such thing']);
});

test('a method that is not there is 405 and names those that are', async () => {
  const { code, headers } = await ask('DELETE', '/v1/things');
  assert.deepEqual([code, headers.allow], [405, 'GET']);
  assert.deepEqual(await ask('HEAD', '/v1/things').then(({ code: head, body }) => [head, body]), [200, undefined]);
});

test('a body is JSON of its schema, within its bound', async () => {
  const problem = async (body: string, headers = {}) => {
    const { code, body: said } = await ask('POST', '/v1/things/change', body, headers);
    return [code, said.detail];
  };
  assert.deepEqual(await problem('{'), [400, 'the body is no JSON']);
  assert.deepEqual((await problem('{"to":1}'))[0], 400);
  assert.match(String((await problem('{"to":"x","from":1}'))[1]), /^the body is wrong: /);
  assert.deepEqual(await problem(JSON.stringify({ to: 'x'.repeat(200) })), [413, 'the body is larger than 100 bytes']);
  assert.equal((await problem('to=x', { 'content-type': 'application/x-www-form-urlencoded' }))[0], 415);
});

test('who may only look changes nothing, and is told which role it takes', async (t) => {
  t.after(() => {
    caller = { role: 'operate', name: 'socket' };
  });
  caller = { role: 'view', name: 'view token' };
  const { code, body } = await ask('POST', '/v1/things/change', '{"to":"x"}');
  assert.deepEqual([code, body.detail], [403, 'this needs the role operate, and the view token has the role view']);
  assert.equal((await ask('GET', '/v1/things')).code, 200);
});

test('a fault of ours is 500 without its text, which is told to us', async () => {
  const { code, body } = await ask('GET', '/v1/things/fault');
  assert.equal(code, 500);
  assert.doesNotMatch(JSON.stringify(body), /disk/);
  assert.match(String(faults.pop()), /the disk is gone/);
});

test('a client that hangs up within its body is no fault', async () => {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('POST /v1/things/change HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"to"');
  await new Promise((resolve) => server.once('request', resolve));
  socket.destroy();
  assert.equal((await ask('GET', '/v1/things')).code, 200);
  assert.deepEqual(faults, []);
});

test('a body that does not come in time is waited for no longer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const closed = once(socket, 'close');
  const taken = once(server, 'request');
  socket.write('POST /v1/things/change HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"to"');
  await taken;
  // Who asks is told first, so that the body is read only some turns later.
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(9_999);
  assert.equal(socket.closed, false);
  t.mock.timers.tick(1);
  await closed;
  assert.deepEqual(faults, []);
});
