/** What the API server lets the operator do: its roles, and the policy on what it writes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer, needsOwnApiServer } from '../cluster/api-server.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { Helm } from './helm.ts';

const OPERATOR = 'system:serviceaccount:chasqui-system:chasqui';
const OURS = { 'app.kubernetes.io/managed-by': 'chasqui', 'chasqui.dev/owner-kind': 'SmtpRelay' };
const RIGHTS = ['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'RoleBinding'];

const namespace = (name: string) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
const secret = (name: string, labels: Record<string, string> = {}, data = 'x') => ({
  ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'mail', labels }, stringData: { data } },
});

describe('the operator', needsOwnApiServer, () => {
  let api: ApiServer;
  let helm: Helm;
  let operator: Kubectl;
  before(async () => {
    helm = await Helm.prepare();
    api = await ApiServer.start();
    await api.applyCrds();
    await api.kubectl.apply(...['chasqui-system', 'team-a', 'mail', 'other'].map(namespace));
  });
  after(async () => {
    await api?.[Symbol.asyncDispose]();
    await helm?.[Symbol.asyncDispose]();
  });

  const may = async (verb: string, what: string, where: string): Promise<boolean> => {
    const [resource = '', subresource] = what.split('/');
    const words = [
      ...(subresource ? [`--subresource=${subresource}`] : []),
      ...(where ? [`--namespace=${where}`] : ['--all-namespaces']),
    ];
    return (await api.kubectl.attempt(['auth', 'can-i', verb, resource, `--as=${OPERATOR}`, ...words])).code === 0;
  };

  describe('scoped to namespaces', () => {
    before(async () => {
      const scope = '--set=scope.namespaces={team-a},scope.relayNamespaces={mail}';
      const rights = (await helm.template(scope)).filter(({ kind }) => RIGHTS.includes(kind));
      await api.kubectl.apply(...rights);
    });

    const table = [
      ['reads relays where they run', 'watch', 'smtprelays', 'mail', true],
      ['reads users of its namespaces', 'watch', 'smtpusers', 'team-a', true],
      ['writes their status', 'patch', 'smtpusers/status', 'team-a', true],
      ['does not write their spec', 'patch', 'smtpusers', 'team-a', false],
      ['writes credentials there', 'create', 'secrets', 'team-a', true],
      ['makes workloads where relays run', 'create', 'statefulsets.apps', 'mail', true],
      ['makes no workload elsewhere', 'create', 'statefulsets.apps', 'team-a', false],
      ['sees no pod elsewhere', 'list', 'pods', 'team-a', false],
      ['deletes no pod', 'delete', 'pods', 'mail', false],
      ['runs nothing in pods', 'create', 'pods/exec', 'mail', false],
      ['reads no Secret of other namespaces', 'get', 'secrets', 'other', false],
      ['lists no Secrets of the cluster', 'list', 'secrets', '', false],
      ['reads no Secret beside its own lease', 'get', 'secrets', 'chasqui-system', false],
      ['holds a lease beside itself', 'patch', 'leases.coordination.k8s.io', 'chasqui-system', true],
      ['holds none elsewhere', 'create', 'leases.coordination.k8s.io', 'mail', false],
      ['knows namespaces by name alone', 'list', 'namespaces', '', false],
      ['gives no rights', 'create', 'rolebindings.rbac.authorization.k8s.io', 'mail', false],
      ['impersonates nobody', 'impersonate', 'serviceaccounts', 'mail', false],
    ] as const;
    for (const [what, verb, resource, where, allowed] of table) {
      test(what, async () => assert.equal(await may(verb, resource, where), allowed));
    }

    test('does what it does in the whole cluster once it is installed without a scope', async () => {
      await api.kubectl.apply(...(await helm.template()).filter(({ kind }) => RIGHTS.includes(kind)));
      assert.equal(await may('list', 'secrets', ''), true);
      assert.equal(await may('create', 'statefulsets.apps', 'other'), true);
      assert.equal(await may('watch', 'namespaces', ''), true);
      assert.equal(await may('delete', 'pods', ''), false);
      assert.equal(await may('update', 'customresourcedefinitions.apiextensions.k8s.io', ''), false);
    });
  });

  describe('by the admission policy', () => {
    before(async () => {
      const policies = (await helm.template()).filter(({ kind }) => kind.startsWith('ValidatingAdmission'));
      assert.equal(policies.length, 4);
      await api.kubectl.apply(...policies);
      // All else is allowed to it, so that what is refused here is refused by the policy.
      await api.kubectl.run(
        ...['create', 'clusterrolebinding', 'all', '--clusterrole=cluster-admin'],
        '--serviceaccount=chasqui-system:chasqui',
      );
      operator = await api.serviceAccount('chasqui-system', 'chasqui');
      // It is in force a moment after it was stored.
      const probe = ['create', '--dry-run=server', '--filename=-', '--output=name'];
      const deadline = Date.now() + 30_000;
      while ((await operator.attempt(probe, JSON.stringify(secret('probe')))).code === 0) {
        assert.ok(Date.now() < deadline, 'the policy is not in force');
      }
      await api.kubectl.apply(secret('theirs'), secret('made', OURS), pod('outbound-0'));
    });

    const refused = async (words: readonly string[], told: RegExp, input?: object): Promise<void> => {
      const { code, stderr } = await operator.attempt(words, input && JSON.stringify(input));
      assert.notEqual(code, 0, 'it was allowed');
      assert.match(stderr, told);
    };
    const patch = (kind: string, name: string, change: object) =>
      ['patch', kind, name, '--namespace=mail', '--type=merge', `--patch=${JSON.stringify(change)}`] as const;
    const SECRETS = /the operator of Chasqui writes only Secrets that carry its labels/;

    test('makes, changes and deletes Secrets that carry its labels', async () => {
      const applied = await operator.attempt(
        ['apply', '--server-side', '--field-manager=chasqui-operator', '--filename=-'],
        JSON.stringify(secret('config', OURS)),
      );
      assert.equal(applied.code, 0, applied.stderr);
      await operator.run(...patch('secret', 'config', { stringData: { data: 'y' } }));
      await operator.run('delete', 'secret', 'config', '--namespace=mail');
    });

    test('makes no Secret without them', () => refused(['create', '--filename=-'], SECRETS, secret('unmarked')));
    test('changes no Secret of others', () =>
      refused(patch('secret', 'theirs', { stringData: { data: 'y' } }), SECRETS));
    test('makes no Secret of others its own', () =>
      refused(patch('secret', 'theirs', { metadata: { labels: OURS } }), SECRETS));
    test('takes no label off its own', () =>
      refused(patch('secret', 'made', { metadata: { labels: { 'chasqui.dev/owner-kind': null } } }), SECRETS));
    test('deletes no Secret of others', () => refused(['delete', 'secret', 'theirs', '--namespace=mail'], SECRETS));

    test('sets and takes off its label and annotation on a pod', async () => {
      const set = (text: string | null) => ({
        labels: { 'chasqui.dev/accepts-mail': text },
        annotations: { 'chasqui.dev/config-refresh': text },
      });
      for (const text of ['true', 'false', null])
        await operator.run(...patch('pod', 'outbound-0', { metadata: set(text) }));
    });

    test('sets no other label of a pod', () =>
      refused(patch('pod', 'outbound-0', { metadata: { labels: { app: 'web' } } }), /no label of a pod but/));
    test('takes no other label off', () =>
      refused(patch('pod', 'outbound-0', { metadata: { labels: { role: null } } }), /no label of a pod but/));
    test('sets no other annotation', () =>
      refused(patch('pod', 'outbound-0', { metadata: { annotations: { note: 'y' } } }), /no annotation of a pod but/));
    test('changes no image', () =>
      refused(
        patch('pod', 'outbound-0', { spec: { containers: [{ name: 'relay', image: 'other' }] } }),
        /changes nothing of a pod but/,
      ));
    test('sets no finalizer', () =>
      refused(
        patch('pod', 'outbound-0', { metadata: { finalizers: ['x.example/y'] } }),
        /changes nothing of a pod but/,
      ));

    test('deletes no pod', () =>
      refused(['delete', 'pod', 'outbound-0', '--namespace=mail'], /changes nothing of a pod but/));
    test('makes no pod', () => refused(['create', '--filename=-'], /changes nothing of a pod but/, pod('another')));

    test('and others are left alone by it', async () => {
      await api.kubectl.apply(secret('unmarked'));
      await api.kubectl.run('label', 'pod', 'outbound-0', '--namespace=mail', 'app=web');
    });
  });
});

const pod = (name: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'mail', labels: { role: 'relay' }, annotations: { note: 'x' } },
  spec: { containers: [{ name: 'relay', image: 'chasqui' }] },
});
