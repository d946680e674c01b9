/** What an API server makes of the CRDs. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { KINDS } from '../../crds/kinds.ts';
import { ApiServer, nameOfCrd } from './api-server.ts';

describe('an API server', () => {
  let api: ApiServer;
  before(async () => {
    api = await ApiServer.start();
    await api.applyCrds();
  });
  after(() => api[Symbol.asyncDispose]());

  for (const definition of KINDS) {
    test(`takes the CRD of ${definition.kind} without a reservation`, async () => {
      const said = await api.kubectl.run(
        ...['get', 'crd', nameOfCrd(definition)],
        '--output=jsonpath={range .status.conditions[*]}{.type}={.status}{"\\n"}{end}',
      );
      assert.deepEqual(said.trim().split('\n').sort(), ['Established=True', 'NamesAccepted=True']);
    });
  }
});
