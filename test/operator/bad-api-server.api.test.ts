/** API servers and networks at their worst: what the operator makes in the end is the same, and nothing is made twice. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiProxy, type Asked, type Verdict } from '../cluster/api-proxy.ts';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import { OperatorProcess } from '../cluster/operator-process.ts';
import { keyMaterial, outcome, seenIn, threeManifests } from '../cluster/three-manifests.ts';

const PASS: Verdict = { pass: true };
const isSecrets = ({ url }: Asked): boolean => /\/secrets\b/.test(url);

describe('an operator whose API server', needsOwnApiServer, () => {
  let api: ApiServer;
  let proxy: ApiProxy;
  let expected: readonly string[];
  before(async () => {
    api = await ApiServer.start({ audit: true });
    proxy = await ApiProxy.start(api);
  });
  after(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  afterEach(() => {
    proxy.rule = () => PASS;
  });

  const start = (namespace: string, ...words: readonly string[]) =>
    OperatorProcess.start(proxy.kubeconfig, '--namespaces', namespace, ...words);
  const alone = (namespace: string) => start(namespace, '--no-leader-elect');

  async function prepare(namespace: string): Promise<void> {
    await api.kubectl.run('create', 'namespace', namespace);
    await api.kubectl.apply(...threeManifests(namespace));
  }

  /** Waits until the namespace is as it is with an API server that works. */
  async function untilWhole(operator: OperatorProcess, namespace: string): Promise<void> {
    let last: readonly string[] = [];
    try {
      await operator.until('all is made', async () => {
        last = outcome(await seenIn(api, namespace));
        return last.join('\n') === expected.join('\n');
      });
    } catch (error) {
      assert.deepEqual(last, expected, String(error));
    }
  }

  const senders = (namespace: string, value: string) =>
    api.kubectl.run(
      ...['patch', 'smtpuser', 'app', '-n', namespace, '--type=merge'],
      `--patch={"spec":{"senders":["${value}"]}}`,
    );
  /** Waits until the operator has judged the newest spec of the user. */
  const untilJudged = (operator: OperatorProcess, namespace: string) =>
    operator.until('the edit is judged', async () => {
      const user = (await api.kubectl.json('get', 'smtpuser', 'app', '-n', namespace)) as {
        metadata: { generation: number };
        status?: { observedGeneration?: number };
      };
      return user.status?.observedGeneration === user.metadata.generation;
    });

  it('does not know our kinds yet waits for them, and says so', async () => {
    await api.kubectl.run('create', 'namespace', 'early');
    await using operator = await alone('early');
    const { missing } = await operator.untilSays(/waiting for CustomResourceDefinitions/);
    assert.deepEqual(missing, ['smtprelays.chasqui.dev', 'maildomains.chasqui.dev', 'smtpusers.chasqui.dev']);
    const [code, text] = await operator.readiness();
    assert.deepEqual([code, await operator.healthy()], [503, true]);
    assert.match(text, /CustomResourceDefinitions are missing: smtprelays.chasqui.dev/);
    await api.applyCrds();
    await operator.untilReady();
    await api.kubectl.apply(...threeManifests('early'));
    await operator.until('all is made', async () => {
      return outcome(await seenIn(api, 'early')).some((line) => /^SmtpUser .*CredentialReady=True/.test(line));
    });
    for (let count = -1; count !== proxy.writes().length; await pause(3_000)) count = proxy.writes().length;
    expected = outcome(await seenIn(api, 'early'));
    assert.ok(expected.length > 12, expected.join('\n'));
    await operator.stop();
  });

  it('has too much to do, and fails now and then, is asked again in its own time', async () => {
    await prepare('refusing');
    const times = new Map<string, number>();
    const refusedAtMs = new Map<string, number>();
    let early = 0;
    let failed = 0;
    proxy.rule = ({ method, url }) => {
      const id = `${method} ${url.replace(/\?.*/, '')}`;
      const time = (times.get(id) ?? 0) + 1;
      times.set(id, time);
      if (performance.now() - (refusedAtMs.get(id) ?? -1_000) < 950) early += 1;
      if (time % 4 === 1) {
        refusedAtMs.set(id, performance.now());
        return { answer: 429, headers: { 'retry-after': '1' } };
      }
      if (time % 4 !== 3 || failed >= 8) return PASS;
      failed += 1;
      return { answer: 500 };
    };
    await using operator = await alone('refusing');
    await untilWhole(operator, 'refusing');
    assert.ok(times.size > 20 && failed === 8);
    // Events of one object may follow each other; whatever else was refused waits as long as it was told to.
    assert.ok(early <= times.size / 4, `${early} of ${times.size} did not wait`);
  });

  it('cuts watches in the middle is watched on from there, and nothing is listed again', async () => {
    await prepare('cutting');
    await using operator = await alone('cutting');
    await untilWhole(operator, 'cutting');
    const lists = () => proxy.asked.filter(({ url }) => url.includes('limit=')).length;
    const before = lists();
    assert.ok(proxy.cutWatches() > 5);
    for (const round of [1, 2, 3, 4]) {
      await senders('cutting', `round-${round}@example.test`);
      await untilJudged(operator, 'cutting');
      assert.equal(
        proxy.cutWatches(({ url }) => url.includes('/smtpusers?')),
        1,
      );
    }
    assert.equal(lists(), before);
  });

  it('says that a version is too old is listed anew', async () => {
    await prepare('old');
    await using operator = await alone('old');
    await untilWhole(operator, 'old');
    const refused = new Set<string>();
    proxy.rule = ({ watch, url }) => {
      const path = url.replace(/\?.*/, '');
      if (!watch || refused.has(path)) return PASS;
      refused.add(path);
      return { answer: 410 };
    };
    const before = proxy.asked.length;
    proxy.cutWatches();
    await senders('old', 'later@example.test');
    await untilJudged(operator, 'old');
    assert.ok(refused.has('/apis/chasqui.dev/v1alpha1/namespaces/old/smtpusers'));
    const listed = proxy.asked.slice(before).filter(({ url, watch }) => !watch && /\/smtpusers\?.*limit=/.test(url));
    assert.equal(listed.length, 1);
  });

  it('is so slow that writes are given up makes no key twice, though some take effect late', async () => {
    await prepare('slow');
    let slowed = 0;
    proxy.rule = ({ method, url }) => {
      if (method !== 'POST' || !url.includes('/secrets')) return { pass: true, afterMs: 100 };
      slowed += 1;
      // Longer than a write may take, for the first of them.
      return { pass: true, afterMs: slowed <= 6 ? 5_500 : 100 };
    };
    await using operator = await alone('slow');
    await untilWhole(operator, 'slow');
    assert.ok(slowed > 6);
    await assertKeysMadeOnce('slow');
  });

  it('tells nothing of Secrets for minutes makes no key twice and overwrites none', async () => {
    await api.kubectl.run('create', 'namespace', 'behind');
    await using late = await start('behind', '--leader-election-namespace', 'behind');
    await late.untilSays('this process leads');
    await late.stop();
    // It has read that there are no Secrets, waits for the lease, and hears nothing of those that another makes.
    await using leader = await OperatorProcess.start(
      ...[api.kubeconfig, '--namespaces', 'behind', '--leader-election-namespace', 'behind'],
    );
    await leader.untilSays('this process leads');
    await using follower = await start('behind', '--leader-election-namespace', 'behind');
    await follower.untilReady();
    proxy.muteWatches(isSecrets);
    await api.kubectl.apply(...threeManifests('behind'));
    await untilWhole(leader, 'behind');
    const made = keyMaterial(await seenIn(api, 'behind'));
    assert.ok(made.size >= 4);
    await leader.stop();
    await follower.untilSays('this process leads');
    await senders('behind', 'after@example.test');
    await untilJudged(follower, 'behind');
    await untilWhole(follower, 'behind');
    assert.deepEqual(keyMaterial(await seenIn(api, 'behind')), made);
    await assertKeysMadeOnce('behind');
  });

  it('has other writers at the same objects gets its own fields right, and leaves theirs', async () => {
    await api.kubectl.run('create', 'namespace', 'busy');
    await using operator = await alone('busy');
    await operator.untilReady();
    await api.kubectl.apply(...threeManifests('busy'));
    for (let count = 0; count < 15; count++) {
      await api.kubectl.run(
        'annotate',
        '--overwrite',
        '-n',
        'busy',
        'smtprelay/outbound',
        `other.example/count=${count}`,
      );
    }
    await api.kubectl.run(
      ...['patch', 'smtprelay', 'outbound', '-n', 'busy', '--type=merge'],
      '--patch={"metadata":{"finalizers":["chasqui.dev/drain","other.example/hold"]}}',
    );
    const status = { conditions: [], replicas: 77 };
    await api.kubectl.run(
      ...['patch', 'smtprelay', 'outbound', '-n', 'busy', '--type=merge', '--subresource=status'],
      `--patch=${JSON.stringify({ status })}`,
    );
    const relay = async () => (await seenIn(api, 'busy')).find(({ kind }) => kind === 'SmtpRelay');
    await operator.until('the status is right again', async () => {
      return (await relay())?.status?.conditions?.some(({ type }) => type === 'Accepted') ?? false;
    });
    const { metadata } = (await relay()) ?? {};
    assert.deepEqual(metadata?.finalizers, ['chasqui.dev/drain', 'other.example/hold']);
    assert.equal(metadata?.annotations?.['other.example/count'], '14');
  });

  it('is started anew is followed from there', async () => {
    await prepare('restarted');
    await using operator = await alone('restarted');
    await untilWhole(operator, 'restarted');
    await api.restart();
    await senders('restarted', 'after@example.test');
    await untilJudged(operator, 'restarted');
    assert.equal((await operator.readiness())[0], 200);
  });

  /** By the audit log, whoever asked. */
  async function assertKeysMadeOnce(namespace: string): Promise<void> {
    const done = (await api.audit())
      .filter(({ objectRef, responseStatus }) => {
        const written = (responseStatus?.code ?? 500) < 300;
        return objectRef?.resource === 'secrets' && objectRef.namespace === namespace && written;
      })
      .filter(({ verb }) => ['create', 'patch', 'update', 'delete'].includes(verb))
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.name}`)
      .filter((line) => /dkim|-ca$|app-smtp/.test(line));
    assert.deepEqual(done.sort(), [
      'create app-smtp',
      'create example-test-dkim-chasqui-e1',
      'create example-test-dkim-chasqui-r1',
      'create outbound-ca',
    ]);
  }
});
