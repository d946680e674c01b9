import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { loadAll } from 'js-yaml';
import { validateManifest } from '../crds/validate.ts';

const ROOT = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

test('every link of the docs leads somewhere', () => {
  const files = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...globSync('docs/**/*.md', { cwd: ROOT })];
  for (const file of files) {
    const prose = read(file).replace(/`[^`]*`/g, '');
    for (const [, target = ''] of prose.matchAll(/\]\(([^)#:]+)[^):]*\)/g)) {
      assert.ok(existsSync(join(ROOT, dirname(file), target)), `${file}: ${target}`);
    }
  }
});

test('the README has the two commands, links to the docs, and manifests that are valid', () => {
  const text = read('README.md');
  for (const needed of ['make run', 'make test', 'docs/architecture.md', 'docs/configuration.md']) {
    assert.ok(text.includes(needed), needed);
  }
  const manifests = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].flatMap(([, yaml = '']) => loadAll(yaml));
  assert.ok(manifests.length > 0);
  for (const manifest of manifests) assert.deepEqual(validateManifest(manifest).problems, []);
});

test('the quickstart is these three manifests', () => {
  const apiVersion = 'chasqui.dev/v1alpha1';
  assert.deepEqual(loadAll(read('examples/quickstart/chasqui.yaml')), [
    {
      apiVersion,
      kind: 'SmtpRelay',
      metadata: { name: 'outbound' },
      spec: {
        hostname: 'relay.example.test',
        replicas: 2,
        listeners: [
          { name: 'submission', protocol: 'Submission', port: 2587 },
          { name: 'submissions', protocol: 'Submissions', port: 2465 },
          {
            name: 'local',
            protocol: 'Submission',
            port: 2525,
            tls: 'Optional',
            auth: { exemptNetworks: ['127.0.0.0/8'] },
          },
        ],
        tls: { certificate: { ownCA: {} } },
        egress: { addresses: ['192.0.2.10'] },
        delivery: {
          routes: [
            {
              match: { domains: ['*'] },
              smarthosts: [{ host: '127.0.0.1', port: 2627, tls: { mode: 'Disabled' } }],
            },
          ],
          retry: { schedule: ['1s', '2s', '4s'], expireAfter: '1m' },
        },
        monitoring: { port: 9465 },
      },
    },
    {
      apiVersion,
      kind: 'MailDomain',
      metadata: { name: 'example-test' },
      spec: {
        domain: 'example.test',
        relayRefs: [{ name: 'outbound' }],
        dkim: { algorithms: ['RSA2048', 'Ed25519'] },
        spf: { all: 'Fail' },
        dmarc: { policy: 'None', reportTo: ['postmaster@example.test'] },
        dns: { publisher: 'Manual', verification: 'Disabled' },
      },
    },
    {
      apiVersion,
      kind: 'SmtpUser',
      metadata: { name: 'app' },
      spec: { relayRef: { name: 'outbound' }, senders: ['*@example.test'], secret: { name: 'app-smtp' } },
    },
  ]);
});

test('make help lists what the README and CONTRIBUTING ask to run', () => {
  const help = execFileSync('make', ['--no-print-directory', 'help'], { cwd: ROOT, encoding: 'utf8' });
  const named = ['README.md', 'CONTRIBUTING.md'].flatMap((file) => [
    ...read(file).matchAll(/(?:^|`)make ([a-z0-9-]+)/gm),
  ]);
  const targets = new Set(named.map(([, target = '']) => target));
  assert.ok(targets.size >= 4);
  for (const target of targets) assert.match(help, new RegExp(`^ {2}make ${target} `, 'm'));
});

test('decisions are numbered in a row', () => {
  const records = globSync('docs/decisions/*.md', { cwd: ROOT }).sort();
  assert.ok(records.length >= 4);
  records.forEach((file, index) => {
    const number = String(index + 1).padStart(4, '0');
    assert.match(file, new RegExp(`/${number}-[a-z0-9-]+\\.md$`));
    assert.match(read(file), new RegExp(`^# ${index + 1}\\. [A-Z]`));
  });
});

test('continuous integration says what it runs on, and calls the targets of the README', () => {
  const calls = read('.ci/run')
    .split('\n')
    .filter((line) => line !== '' && !/^(#|set |cd |version)/.test(line));
  assert.deepEqual(calls, ['make test', 'make test-api', 'make e2e']);
});

test('the licence is Apache-2.0', () => {
  assert.match(read('LICENSE'), /Apache License\s+Version 2\.0/);
  assert.equal(JSON.parse(read('package.json')).license, 'Apache-2.0');
});
