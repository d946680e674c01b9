/** The table of good and bad manifests, put to an API server: its verdict is that of the host (`crds/validate.ts`). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACCEPTED } from '../../crds/cases/accepted.ts';
import { AGAINST_RULES } from '../../crds/cases/against-rules.ts';
import { MALFORMED } from '../../crds/cases/malformed.ts';
import { domain } from '../../crds/cases/manifests.ts';
import { WORKLOAD } from '../../crds/cases/workload.ts';
import { ApiServer } from './api-server.ts';

describe('an API server', () => {
  let api: ApiServer;
  before(async () => {
    api = await ApiServer.start();
    await api.applyCrds();
  });
  after(() => api[Symbol.asyncDispose]());

  for (const [sentence, manifest, field, , nearest = field] of [...MALFORMED, ...AGAINST_RULES, ...WORKLOAD]) {
    test(`refuses ${sentence}, and names the field`, async () => {
      const { code, stderr } = await api.kubectl.dryRun(manifest);
      assert.equal(code, 1);
      assert.ok(stderr.includes(nearest), `${nearest} is not named:\n${stderr}`);
    });
  }

  test('refuses another domain for a MailDomain, and names the field', async () => {
    await using namespace = await api.namespace();
    const words = ['apply', `--namespace=${namespace.name}`, '--server-side', '--filename=-'];
    const before = await api.kubectl.attempt(words, JSON.stringify(domain()));
    assert.equal(before.code, 0, before.stderr);
    const { code, stderr } = await api.kubectl.attempt(words, JSON.stringify(domain({ domain: 'example.org' })));
    assert.equal(code, 1);
    assert.match(stderr, /spec\.domain: Invalid value.*cannot change from example\.test: delete the object/);
  });

  for (const [sentence, manifest] of ACCEPTED) {
    test(`takes ${sentence}`, async () => {
      const { code, stderr } = await api.kubectl.dryRun(manifest);
      assert.equal(code, 0, stderr);
    });
  }
});
