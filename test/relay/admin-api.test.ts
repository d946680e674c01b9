/** The admin API over the network, as an operator or a console in a cluster uses it: TLS, and a token for each role. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { Destination } from '../harness/destination.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { freePorts } from '../harness/standalone.ts';

const VIEW = 'view-token-of-at-least-32-characters';
const OPERATE = 'operate-token-of-at-least-32-characters';

describe('a relay that serves its admin API on a port of its own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tokens-'));
  const files = { view: join(folder, 'view'), operate: join(folder, 'operate') };
  let destination: Destination;
  let relay: RelayProcess;
  let port = 0;

  before(async () => {
    destination = await Destination.start();
    relay = await RelayProcess.start(destination.port);
    await relay.kill();
    [port = 0] = await freePorts(1);
    write();
    await relay.run(
      [],
      [
        ...['--admin-listen', `127.0.0.1:${port}`],
        ...['--admin-view-token', files.view, '--admin-operate-token', files.operate],
      ],
    );
  });
  beforeEach(write);
  after(async () => {
    await relay[Symbol.asyncDispose]();
    await destination[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  function write(): void {
    put('view', VIEW);
    put('operate', OPERATE);
  }

  /** As a mounted Secret changes: another file takes the name. */
  function put(role: 'view' | 'operate', token: string, mode = 0o600): void {
    const file = `${files[role]}.new`;
    writeFileSync(file, `${token}\n`);
    chmodSync(file, mode);
    renameSync(file, files[role]);
  }

  async function ask(token: string | undefined, path: string, body?: object, signal?: AbortSignal) {
    const asking = request({
      ...{ host: '127.0.0.1', port, path, agent: false, ca: SELF_SIGNED.cert, ...(signal && { signal }) },
      method: body ? 'POST' : 'GET',
      headers: token === undefined ? {} : { 'X-Chasqui-Token': token },
    });
    asking.end(body && JSON.stringify(body));
    const [response] = await once(asking, 'response');
    return {
      code: response.statusCode,
      type: response.headers['content-type'],
      body: JSON.parse(await text(response)),
    };
  }

  const hold = { filter: {} };

  test('a token is needed, under TLS with the certificate of the relay', async () => {
    const { code, type, body } = await ask(undefined, '/v1/status');
    assert.deepEqual([code, type], [401, 'application/problem+json']);
    assert.equal(body.detail, 'the header X-Chasqui-Token is missing');
    assert.equal((await ask('wrong', '/v1/status')).code, 401);
    assert.equal((await ask(`${OPERATE}x`, '/v1/queue/hold', hold)).code, 401);
    assert.equal((await ask('', '/v1/nothing')).code, 401, 'nobody learns what there is');

    const plain = plainRequest({ host: '127.0.0.1', port, path: '/v1/status', headers: { 'X-Chasqui-Token': VIEW } });
    plain.end();
    await assert.rejects(once(plain, 'response'));
  });

  test('the view token looks and changes nothing, the operate token does both', async () => {
    assert.equal((await ask(VIEW, '/v1/status')).body.ordinal, 0);
    assert.deepEqual((await ask(VIEW, '/v1/queue')).body, { messages: [] });
    const refused = await ask(VIEW, '/v1/queue/hold', hold);
    assert.deepEqual(
      [refused.code, refused.body.detail],
      [403, 'this needs the role operate, and the view token has the role view'],
    );
    assert.equal((await ask(OPERATE, '/v1/status')).code, 200);
    assert.deepEqual((await ask(OPERATE, '/v1/queue/hold', hold)).body, { messages: [], unknown: [] });
  });

  test('a token that is changed is in force at once, and the former one is not', async () => {
    put('operate', 'another-operate-token-of-32-characters');
    assert.equal((await ask(OPERATE, '/v1/queue/hold', hold)).code, 401);
    assert.equal((await ask('another-operate-token-of-32-characters', '/v1/queue/hold', hold)).code, 200);
    rmSync(files.operate);
    assert.equal((await ask('another-operate-token-of-32-characters', '/v1/status')).code, 401);
    assert.equal((await ask(VIEW, '/v1/status')).code, 200, 'the other one stays');
  });

  test('a token that others may read, or could guess, is not taken, and the log says why', async () => {
    const problems: readonly [token: string, mode: number, told: RegExp][] = [
      [OPERATE, 0o644, /its mode is 0644/],
      [OPERATE, 0o460, /its mode is 0460/],
      ['short', 0o600, /shorter than 32 characters/],
    ];
    for (const [token, mode, told] of problems) {
      put('operate', token, mode);
      assert.equal((await ask(token, '/v1/queue/hold', hold)).code, 401);
      await relay.logged(String(told), (line) => 'problem' in line && told.test(String(line.problem)));
    }
    put('operate', OPERATE, 0o440);
    assert.equal((await ask(OPERATE, '/v1/queue/hold', hold)).code, 200, 'as in a mounted Secret');
  });

  test('one token for both roles only views', async () => {
    put('operate', VIEW);
    assert.equal((await ask(VIEW, '/v1/status')).code, 200);
    assert.equal((await ask(VIEW, '/v1/queue/hold', hold)).code, 403);
  });

  test('the socket is for its owner alone', () => {
    assert.equal(statSync(relay.admin).mode & 0o777, 0o600);
  });

  test('whoever waits for another config hears of it as soon as it is in force', async () => {
    const { hash } = (await ask(VIEW, '/v1/config')).body;
    assert.match(hash, /^[0-9a-f]{64}$/);
    assert.equal(
      (await ask(VIEW, `/v1/config?not=${'0'.repeat(64)}&wait=60s`)).body.hash,
      hash,
      'it is another already',
    );
    assert.equal((await ask(VIEW, `/v1/config?not=${hash}&wait=1s`)).body.hash, hash, 'nothing changed');
    const waiting = ask(VIEW, `/v1/config?not=${hash}&wait=60s`, undefined, AbortSignal.timeout(30_000));
    relay.setReplicas(2);
    const next = (await waiting).body;
    assert.notEqual(next.hash, hash);
    assert.equal(next.replicas, 2);
    assert.equal((await ask(VIEW, '/v1/status')).body.configHash, next.hash);
    assert.equal((await ask(VIEW, '/v1/config?wait=61s')).code, 400);
  });

  test('the API document is valid OpenAPI, and what it lists is what there is', async () => {
    const { code, body } = await ask(VIEW, '/v1/openapi.json');
    assert.equal(code, 200);
    const validator = new Validator();
    const { valid, errors } = await validator.validate(structuredClone(body));
    assert.deepEqual([valid, errors ?? []], [true, []]);
    assert.equal(validator.version, '3.1');

    const listed = Object.entries<object>(body.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    for (const action of ['hold', 'release', 'retry', 'bounce', 'delete']) {
      assert.ok(listed.includes(`POST /v1/queue/${action}`), action);
    }
    for (const route of listed) {
      const [method, path = ''] = route.split(' ');
      const answer = await ask(
        OPERATE,
        path.replace('{id}', 'NOSUCH1').replaceAll(/\{\w+\}/g, 'x'),
        method === 'POST' ? {} : undefined,
      );
      assert.notEqual(answer.code, 405, route);
      assert.doesNotMatch(String(answer.body.detail), /^there is no \/v1/, route);
    }
    const ids = Object.values<Record<string, { operationId: string }>>(body.paths).flatMap((operations) =>
      Object.values(operations).map(({ operationId }) => operationId),
    );
    assert.equal(new Set(ids).size, ids.length);
  });
});
