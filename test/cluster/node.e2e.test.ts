/** What a test cluster can do: pods under the restricted profile, their names in DNS, their volumes, logs and ports. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster } from './cluster.ts';
import type { Namespace } from './namespace.ts';
import { importProbe, PROBE_IMAGE } from './node/images.ts';

/** Answers each request with its host name and what it had written to its volume; says so in its log. */
const SERVER = `
  const { readFileSync, writeFileSync } = require('node:fs');
  const name = require('node:os').hostname();
  writeFileSync('/data/name', name);
  require('node:http').createServer((request, response) => {
    console.log(name + ' was asked for ' + request.url);
    response.end(readFileSync('/data/name'));
  }).listen(8080);
  process.on('SIGTERM', () => process.exit(0));`;
const ASK = (url: string) => `fetch('${url}').then((answer) => answer.text()).then(console.log)`;

const labels = { app: 'echo' };
const statefulSet = {
  ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: 'echo' } },
  spec: {
    ...{ serviceName: 'echo-pods', replicas: 2, podManagementPolicy: 'Parallel', selector: { matchLabels: labels } },
    template: {
      metadata: { labels },
      spec: {
        automountServiceAccountToken: false,
        securityContext: {
          ...{ runAsNonRoot: true, runAsUser: 65_532, runAsGroup: 65_532, fsGroup: 65_532 },
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            ...{ name: 'echo', image: PROBE_IMAGE, imagePullPolicy: 'Never', args: ['-e', SERVER] },
            readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1 },
            securityContext: {
              ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
            },
            volumeMounts: [{ name: 'data', mountPath: '/data' }],
          },
        ],
      },
    },
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOncePod'], resources: { requests: { storage: '10Mi' } } },
      },
    ],
  },
};
const service = (name: string, spec: object) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name } },
  spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }], ...spec },
});

describe('a test cluster', () => {
  let cluster: Cluster;
  let namespace: Namespace;
  const kubectl = (...words: string[]) => cluster.kubectl.run(`--namespace=${namespace.name}`, ...words);
  const ask = (url: string) => ['exec', 'echo-1', '--', '/usr/bin/node', '-e', ASK(url)];

  before(async () => {
    cluster = await Cluster.connect();
    await importProbe();
    namespace = await cluster.namespace();
    const objects = [statefulSet, service('echo', {}), service('echo-pods', { clusterIP: 'None' })];
    const there = { namespace: namespace.name };
    await cluster.kubectl.apply(
      ...objects.map((object) => ({ ...object, metadata: { ...object.metadata, ...there } })),
    );
    await kubectl('rollout', 'status', 'statefulset/echo', '--timeout=120s');
  });
  after(() => namespace?.[Symbol.asyncDispose]());

  test('refuses a pod that asks for more than the restricted profile has', async () => {
    const words = ['run', 'greedy', `--namespace=${namespace.name}`, `--image=${PROBE_IMAGE}`, '--privileged'];
    const { code, stderr } = await cluster.kubectl.attempt(words);
    assert.equal(code, 1);
    assert.match(stderr, /violates PodSecurity "restricted/);
  });

  test('lets a pod reach a Service by its name, and a replica by the name of its own', async () => {
    // The rules of a Service follow its endpoints by a moment.
    await cluster.kubectl.eventually([`--namespace=${namespace.name}`, ...ask('http://echo/')], /^echo-[01]$/m);
    assert.match(await kubectl(...ask('http://echo-0.echo-pods:8080/')), /^echo-0$/m);
    assert.match(
      await kubectl(...ask(`http://echo-1.echo-pods.${namespace.name}.svc.cluster.local:8080/`)),
      /^echo-1$/m,
    );
  });

  test('shows the log of a pod', async () => {
    assert.match(await kubectl('logs', 'echo-0'), /echo-0 was asked for \/ready/);
  });

  test('leads a port of this machine to a pod', async () => {
    await using forward = await cluster.forward(namespace.name, 'pod/echo-0', 8080);
    const answer = await fetch(`http://127.0.0.1:${forward.port}/from-outside`);
    assert.equal(await answer.text(), 'echo-0');
    assert.match(await kubectl('logs', 'echo-0'), /echo-0 was asked for \/from-outside/);
  });

  test('keeps the volume of a replica whose pod was deleted, and gives it back', async () => {
    const volume = await kubectl('get', 'pvc', 'data-echo-0', '--output=jsonpath={.spec.volumeName}');
    await kubectl('delete', 'pod', 'echo-0');
    await kubectl('rollout', 'status', 'statefulset/echo', '--timeout=120s');
    assert.equal(await kubectl('get', 'pvc', 'data-echo-0', '--output=jsonpath={.spec.volumeName}'), volume);
    assert.match(
      await kubectl('exec', 'echo-0', '--', '/usr/bin/node', '-p', `fs.readFileSync('/data/name', 'utf8')`),
      /echo-0/,
    );
  });
});
