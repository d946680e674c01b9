/** An operator that is killed in the middle of its work: the next one ends where one that was never killed does. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiProxy } from '../cluster/api-proxy.ts';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { keyMaterial, outcome, seenIn, threeManifests } from '../cluster/three-manifests.ts';

const WAIT_MS = 60_000;
/** Writes after which it is killed; with the same place in all the rest of this list, so that the order differs. */
const PLACES = [1, 2, 3, 5, 7, 9, 12, 15, 18, 22];

describe('an operator that is killed', needsOwnApiServer, () => {
  let api: ApiServer;
  let proxy: ApiProxy;
  let expected: readonly string[];
  before(async () => {
    api = await ApiServer.start();
    await api.applyCrds();
    proxy = await ApiProxy.start(api);
  });
  after(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  const start = (namespace: string, kubeconfig = api.kubeconfig) =>
    OperatorProcess.start(kubeconfig, '--no-leader-elect', '--namespaces', namespace);

  async function prepare(namespace: string): Promise<void> {
    await api.kubectl.run('create', 'namespace', namespace);
    await api.kubectl.apply(...threeManifests(namespace));
  }

  it('is compared with one that is not', async () => {
    await prepare('whole');
    await using operator = await start('whole', proxy.kubeconfig);
    await operator.until('all is made', async () => {
      return outcome(await seenIn(api, 'whole')).some((line) => /^SmtpUser .*CredentialReady=True/.test(line));
    });
    await untilStill(proxy);
    expected = outcome(await seenIn(api, 'whole'));
    assert.ok(expected.length > 12, expected.join('\n'));
    assert.ok(proxy.writes().length > 20, `only ${proxy.writes().length} writes`);
    await operator.stop();
  });

  for (const place of PLACES) {
    const when = place % 2 === 0 ? 'before' : 'after';
    it(`${when} write ${place} has taken effect leaves nothing that the next one cannot mend`, async () => {
      const namespace = `killed-${place}`;
      await prepare(namespace);
      const first = await start(namespace, proxy.kubeconfig);
      await using _ = first;
      let writes = 0;
      proxy.rule = ({ method }) => {
        if (method === 'GET') return { pass: true };
        writes += 1;
        if (writes < place) return { pass: true };
        if (writes === place) setImmediate(() => first.signal('SIGKILL'));
        // Of what was asked at the same time, some is done yet and some is not.
        return writes === place && when === 'after' ? { cut: 'after' } : { cut: 'before' };
      };
      await first.end();
      proxy.rule = () => ({ pass: true });
      assert.ok(writes >= place, 'it was killed before it came so far');
      const kept = keyMaterial(await seenIn(api, namespace));

      await using second = await start(namespace);
      let last: readonly string[] = [];
      for (const endMs = performance.now() + WAIT_MS; performance.now() < endMs; await pause(100)) {
        last = outcome(await seenIn(api, namespace));
        if (last.join('\n') === expected.join('\n')) break;
      }
      assert.deepEqual(last, expected);
      const now = keyMaterial(await seenIn(api, namespace));
      for (const [name, content] of kept) assert.equal(now.get(name), content, `${name} was made twice`);
      await second.stop();
    });
  }
});

/** Waits until nothing was written for a while: a reconcile on loopback takes far less. */
async function untilStill(proxy: ApiProxy): Promise<void> {
  for (let count = -1; count !== proxy.writes().length; await pause(2_000)) count = proxy.writes().length;
}
