/** What the chart makes of its values, by helm itself and a real API server. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { load } from 'js-yaml';
import { crd } from '../../crds/generate.ts';
import { KINDS } from '../../crds/kinds.ts';
import { ApiServer } from '../cluster/api-server.ts';
import { CHART, Helm, type Rendered } from './helm.ts';

const SCOPED = '--set=scope.namespaces={team-a,team-b},scope.relayNamespaces={mail}';
const MONITORS = '--set=metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true';
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

let api: ApiServer;
let helm: Helm;
before(async () => {
  helm = await Helm.prepare();
  api = await ApiServer.start();
  const namespaces = ['chasqui-system', 'team-a', 'team-b', 'mail'];
  await api.kubectl.apply(...namespaces.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })));
});
after(async () => {
  await api?.[Symbol.asyncDispose]();
  await helm?.[Symbol.asyncDispose]();
});

const names = (objects: readonly Rendered[], kind: string): readonly string[] =>
  objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);

describe('helm lint', () => {
  for (const options of [[], [SCOPED], ['--set=uninstall.relays=Delete,crds.keep=false']]) {
    test(`finds nothing to warn of with ${options.join(' ') || 'the default values'}`, async () => {
      assert.match(await helm.run('lint', CHART, '--strict', ...options), /1 chart\(s\) linted, 0 chart\(s\) failed/);
    });
  }
});

describe('a wrong value is told with its path', () => {
  const table = [
    ['operator.replicas=many', "at '/operator/replicas': got string, want integer"],
    ['operator.replica=3', "at '/operator': additional properties 'replica' not allowed"],
    ['uninstall.relays=Drop', "at '/uninstall/relays': value must be one of 'Keep', 'Delete'"],
    ['scope.namespaces=mail', "at '/scope/namespaces': got string, want array"],
    ['scope.namespaces={Mail}', "at '/scope/namespaces/0': 'Mail' does not match pattern"],
    ['image.digest=sha256:12', "at '/image/digest': 'sha256:12' does not match pattern"],
    ['crds.keep=yes please', "at '/crds/keep': got string, want boolean"],
    ['metrics.serviceMonitor.interval=often', "at '/metrics/serviceMonitor/interval': 'often' does not match pattern"],
    ['operator.dnsResolvers={dns.example}', "at '/operator/dnsResolvers/0': 'dns.example' does not match pattern"],
  ] as const;
  for (const [value, told] of table) {
    test(value, async () => {
      const { code, stderr } = await helm.attempt('template', CHART, `--set=${value}`);
      assert.notEqual(code, 0);
      assert.ok(stderr.includes(told), stderr);
    });
  }
});

describe('the API server takes what is rendered', () => {
  const table = [
    ['with the default values', []],
    ['scoped to namespaces', [SCOPED]],
    [
      'with all that can be said of the operator',
      [
        '--set=operator.dnsResolvers={192.0.2.53:53},operator.priorityClassName=system-cluster-critical',
        '--set=operator.nodeSelector.zone=a,operator.podLabels.team=mail,operator.podAnnotations.note=x',
        '--set=operator.tolerations[0].operator=Exists,imagePullSecrets={pull},serviceAccount.annotations.role=x',
        `--set=image.digest=${DIGEST},relayImage=relay.example/chasqui:1`,
      ],
    ],
  ] as const;
  for (const [name, options] of table) {
    test(name, async () => {
      const objects = await helm.template(...options);
      const { code, stdout, stderr } = await api.kubectl.attempt(
        ['apply', '--dry-run=server', '--validate=strict', '--filename=-'],
        objects.map((object) => JSON.stringify(object)).join('\n---\n'),
      );
      assert.equal(code, 0, stderr);
      assert.equal(stdout.trim().split('\n').length, objects.length);
      assert.doesNotMatch(stderr, /warning/i);
    });
  }
});

describe('CRDs', () => {
  test('are those of the sources, with the mark that keeps them', async () => {
    const rendered = (await helm.template()).filter(({ kind }) => kind === 'CustomResourceDefinition');
    assert.equal(rendered.length, KINDS.length);
    for (const definition of KINDS) {
      const source = crd(definition) as Rendered & { readonly spec: unknown };
      const [found] = rendered.filter(({ metadata }) => metadata.name === source.metadata.name);
      assert.ok(found && 'spec' in found && isDeepStrictEqual(found.spec, source.spec), source.metadata.name);
      assert.equal(found.metadata.annotations?.['helm.sh/resource-policy'], 'keep');
    }
  });

  test('go with the chart where it is said so', async () => {
    const objects = await helm.template('--set=crds.keep=false');
    for (const { kind, metadata } of objects.filter((object) => object.kind === 'CustomResourceDefinition')) {
      assert.equal(metadata.annotations?.['helm.sh/resource-policy'], undefined, `${kind} ${metadata.name}`);
    }
  });

  test('are left to others where it is said so', async () => {
    assert.deepEqual(names(await helm.template('--set=crds.enabled=false'), 'CustomResourceDefinition'), []);
  });
});

describe('the image', () => {
  const imagesOf = async (...options: readonly string[]): Promise<ReadonlySet<string>> => {
    const text = JSON.stringify(await helm.template(...options));
    const images = [...text.matchAll(/"image":"([^"]*)"|--relay-image=([^"]*)"/g)];
    return new Set(images.map(([, own, relay]) => own ?? relay ?? ''));
  };

  test('is by default the version of the chart, for operator and relays', async () => {
    assert.deepEqual([...(await imagesOf())], ['docker.io/library/chasqui:0.1.0']);
  });

  test('is taken by digest where one is given', async () => {
    const images = await imagesOf('--set=image.repository=images.example/chasqui', `--set=image.digest=${DIGEST}`);
    assert.deepEqual([...images], [`images.example/chasqui:0.1.0@${DIGEST}`]);
  });
});

describe('scopes', () => {
  const bindings = async (...options: readonly string[]) =>
    (await helm.template(...options))
      .filter(({ kind }) => kind.endsWith('RoleBinding'))
      .map(({ kind, metadata: { name, namespace } }) => `${kind} ${name}${namespace ? ` in ${namespace}` : ''}`)
      .filter((binding) => !binding.includes('uninstall'))
      .toSorted();

  test('without one, each controller has its role in the cluster, and leases are in the namespace of the operator', async () => {
    assert.deepEqual(await bindings(), [
      ...['maildomain', 'namespaces', 'smtprelay', 'smtpuser', 'workloads'].map(
        (role) => `ClusterRoleBinding chasqui-${role}`,
      ),
      'RoleBinding chasqui-election in chasqui-system',
    ]);
  });

  test('with both, nothing is bound for the cluster', async () => {
    const ofObjects = ['mail', 'team-a', 'team-b'].flatMap((namespace) =>
      ['maildomain', 'smtprelay', 'smtpuser'].map((role) => `RoleBinding chasqui-${role} in ${namespace}`),
    );
    assert.deepEqual(
      await bindings(SCOPED),
      [
        ...ofObjects,
        'RoleBinding chasqui-election in chasqui-system',
        'RoleBinding chasqui-workloads in mail',
      ].toSorted(),
    );
    const all = (await helm.template(SCOPED)).filter(({ kind }) => kind === 'ClusterRoleBinding');
    assert.deepEqual(all, [], 'not for the uninstallation either');
  });

  test('with namespaces for relays alone, objects are read everywhere and workloads made there', async () => {
    assert.deepEqual(await bindings('--set=scope.relayNamespaces={mail}'), [
      ...['maildomain', 'namespaces', 'smtprelay', 'smtpuser'].map((role) => `ClusterRoleBinding chasqui-${role}`),
      'RoleBinding chasqui-election in chasqui-system',
      'RoleBinding chasqui-workloads in mail',
    ]);
  });
});

describe('monitoring', () => {
  const kinds = ['Service', 'ServiceMonitor', 'PodMonitor'] as const;
  const made = async (...options: readonly string[]) => {
    const objects = await helm.template(...options);
    return kinds.filter((kind) => names(objects, kind).length > 0);
  };

  test('does not let the namespace of the operator take the place of those that metrics are of', async () => {
    for (const object of await helm.template(MONITORS)) {
      if (!object.kind.endsWith('Monitor')) continue;
      assert.match(JSON.stringify(object), /"port":"metrics","interval":"30s","honorLabels":true/, object.kind);
    }
  });

  test('has the alerts as a PrometheusRule, each with its runbook where it is said where they are', async () => {
    const alerts = load(await readFile(join(CHART, 'files/alerts.yaml'), 'utf8'));
    const rule = async (...options: readonly string[]) =>
      (await helm.template('--set=metrics.prometheusRule.enabled=true', ...options)).filter(
        ({ kind }) => kind === 'PrometheusRule',
      );
    const [plain, ...others] = await rule();
    assert.ok(plain && 'spec' in plain);
    assert.deepEqual([plain.spec, others], [alerts, []], 'the rules are those of the file');
    const linked = JSON.stringify(await rule('--set=metrics.prometheusRule.runbooks=https://wiki.example/runbooks/'));
    const links = [...linked.matchAll(/"runbook_url":"https:\/\/wiki\.example\/runbooks\/(\w+)\.md"/g)];
    const alertNames = [...JSON.stringify(alerts).matchAll(/"alert":"(\w+)"/g)];
    assert.deepEqual(
      links.map(([, name]) => name),
      alertNames.map(([, name]) => name),
    );
    assert.ok(links.length > 10);
  });

  test('is a Service by default, and nothing that needs the Prometheus operator', async () => {
    assert.deepEqual(await made(), ['Service']);
    assert.deepEqual(await made('--set=metrics.service=false'), []);
  });

  test('is by ServiceMonitor and PodMonitor where they are asked for', async () => {
    assert.deepEqual(await made(MONITORS), kinds);
  });
});

test('the notes say the next step, in a namespace where relays may be', async () => {
  const { stdout } = await helm.attempt('install', 'chasqui', CHART, '--dry-run=client', SCOPED);
  assert.match(stdout, /NOTES:[\s\S]*kubectl apply[\s\S]*kind: SmtpRelay[\s\S]*namespace: mail\n/);
});
