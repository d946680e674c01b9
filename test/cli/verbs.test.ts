/** The verbs against a standalone that runs: what an operator at a terminal does all day. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { at, Destination } from '../harness/destination.ts';
import { CHASQUI, chasquiOn } from '../harness/program.ts';
import { dkimpyVerdicts, needsPython, pyspfResult } from '../harness/python.ts';
import { freePorts } from '../harness/standalone.ts';

const needsUnbound = {
  skip: !process.env.CI && spawnSync('unbound', ['-h']).error ? 'unbound is not installed' : needsPython.skip,
};

const manifests = (submissions: number, monitoring: number, smarthost: number): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  listeners:
    - {name: submissions, protocol: Submissions, port: ${submissions}}
  egress: {addresses: [192.0.2.10]}
  delivery:
    routes:
      - {match: {domains: ["*"]}, smarthosts: [{host: 127.0.0.1, port: ${smarthost}, tls: {mode: Disabled}}]}
    retry: {schedule: [1h]}
  monitoring: {port: ${monitoring}}
---
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: example-test}
spec:
  domain: example.test
  relayRefs: [{name: outbound}]
  spf: {all: Fail}
  dns: {verification: Disabled}
---
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {name: app}
spec:
  relayRef: {name: outbound}
  senders: ["*@example.test"]
`;

describe('with a standalone that runs', () => {
  const place = mkdtempSync(join(tmpdir(), 'verbs-'));
  const state = join(place, 'state');
  let destination: Destination;
  let standalone: ChildProcess;

  const chasqui = chasquiOn(state);

  before(async () => {
    destination = await Destination.start();
    const [submissions = 0, monitoring = 0] = await freePorts(2);
    writeFileSync(join(place, 'all.yaml'), manifests(submissions, monitoring, destination.port));
    standalone = spawn(CHASQUI, ['standalone', '-f', place, '--state', state, '--listen-address', '127.0.0.1'], {
      stdio: 'ignore',
    });
  });
  after(async () => {
    if (standalone.exitCode === null) {
      standalone.kill('SIGTERM');
      await once(standalone, 'exit');
    }
    await destination[Symbol.asyncDispose]();
    rmSync(place, { recursive: true, force: true });
  });

  test('status waits until all is ready, and shows objects and replicas', async () => {
    const { code, stdout } = await chasqui(['status', '--wait', '30']);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^SmtpRelay +default +outbound +True +/m);
    assert.match(stdout, /^MailDomain +default +example-test +True +/m);
    assert.match(stdout, /^SmtpUser +default +app +True +/m);
    assert.match(stdout, /^default\/outbound-0 +Ready +0/m);
    assert.doesNotMatch(stdout, /\p{Cc}\[/u, 'no colours where there is no terminal');
    const report = JSON.parse((await chasqui(['status', '-o', 'json'])).stdout);
    assert.deepEqual([report.ready, report.holder], [true, standalone.pid]);
  });

  test('send needs nothing but a recipient', async () => {
    const { code, stdout, stderr } = await chasqui(['send', '--to', 'someone@example.org']);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^250 2\.\d\.\d .*[0-9A-Z]{6,}/);
    const [message] = await destination.received(1);
    assert.deepEqual([message?.from, message?.to], ['hello@example.test', ['someone@example.org']]);
  });

  test('send takes a body from standard input, several recipients, and another sender of the user', async () => {
    const words = [
      'send',
      '--user',
      'app',
      '--from',
      'me@example.test',
      '--to',
      'a@example.org',
      'b@example.org',
      '--subject',
      'Now',
      '--body',
      '-',
    ];
    const { code } = await chasqui([...words, '-o', 'json'], 'from a pipe\n');
    assert.equal(code, 0);
    const message = (await destination.received(2))[1];
    assert.deepEqual(
      [message?.from, [...(message?.to ?? [])].sort()],
      ['me@example.test', ['a@example.org', 'b@example.org']],
    );
    assert.match(message?.data.toString() ?? '', /^Subject: Now\r$[\s\S]*^from a pipe\r$/m);
  });

  test('send tells what the server said when it refuses', async () => {
    const { code, stdout, stderr } = await chasqui([
      'send',
      '--from',
      'boss@other.test',
      '--to',
      'someone@example.org',
    ]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /did not take the message: 550 5\.7\.1/);
  });

  test('a message that waits is shown by queue list and queue show, with the last reply', async () => {
    destination.react = at('rcpt', '451 4.7.1 Come back later');
    const sent = await chasqui(['send', '--to', 'late@example.org']);
    assert.equal(sent.code, 0, sent.stderr);
    let listed = await chasqui(['queue', 'list']);
    while (!listed.stdout.includes('451')) listed = await chasqui(['queue', 'list']);
    assert.match(
      listed.stdout,
      /default\/outbound-0 .*hello@example.test +late@example.org +1 +in (1h|\d+m) +451 4.7.1 Come back later/,
    );

    const [message] = JSON.parse((await chasqui(['queue', 'list', '-o', 'json'])).stdout);
    assert.ok(sent.stdout.includes(message.queueId), 'the reply names the queue id');
    const shown = await chasqui(['queue', 'show', message.queueId]);
    assert.match(shown.stdout, /^Submitted by: +app\.default$/m);
    assert.match(shown.stdout, /^late@example\.org +deferred /m);
    assert.match((await chasqui(['status'])).stdout, /^default\/outbound-0 +Ready +1/m);

    const missing = await chasqui(['queue', 'show', 'NOSUCH1']);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /NOSUCH1 is not queued/);
  });

  test('a name server loads the zone, by which signatures and SPF pass', needsUnbound, async (t) => {
    const zone = (await chasqui(['dns', 'example.test', '-o', 'zone'])).stdout;
    const [port = 0] = await freePorts(1);
    const server = await nameServer(join(place, 'dns'), zone, port);
    t.after(() => server.kill('SIGKILL'));

    const records = { server: `127.0.0.1:${port}` };
    const [message] = await destination.received(1);
    const verdicts = await dkimpyVerdicts(message?.data ?? Buffer.alloc(0), records);
    assert.deepEqual(
      new Map(verdicts.map(({ algorithm, verified, problem }) => [algorithm, verified || problem])),
      new Map([
        ['rsa-sha256', true],
        ['ed25519-sha256', true],
      ]),
    );
    const client = { address: '192.0.2.10', sender: 'hello@example.test', helo: 'relay.example.test' };
    assert.equal((await pyspfResult(client, records)).result, 'pass');
    assert.equal(
      (await pyspfResult({ ...client, sender: '' }, records)).result,
      'pass',
      'a bounce passes by the HELO name',
    );
    assert.equal((await pyspfResult({ ...client, address: '192.0.2.11' }, records)).result, 'fail');
  });

  test('dns prints the same records as a table and as JSON', async () => {
    const table = (await chasqui(['dns', 'example.test'])).stdout;
    assert.match(table, /^TYPE +NAME +VALUE$/m);
    assert.match(table, /^TXT +\S+\._domainkey\.example\.test +"v=DKIM1; k=rsa; p=\S{200,}" "\S+"$/m);
    const records = JSON.parse((await chasqui(['dns', 'example.test', '-o', 'json'])).stdout);
    assert.ok(
      records.some(
        ({ name, value }: { name: string; value: string }) =>
          name === '_dmarc.example.test' && value === 'v=DMARC1; p=none',
      ),
    );
    for (const { name } of records) assert.ok(table.includes(name));
    assert.match(
      (await chasqui(['dns', 'other.test'])).stderr,
      /no MailDomain is for other.test; there are: example.test/,
    );
  });

  test('a wrong manifest is told with its file and field, and status fails', async () => {
    writeFileSync(
      join(place, 'wrong.yaml'),
      'apiVersion: chasqui.dev/v1alpha1\nkind: SmtpUser\nmetadata: {name: web}\nspec: {relayRef: {name: outbound}, sender: []}\n',
    );
    let seen = await chasqui(['status']);
    while (!seen.stdout.includes('wrong.yaml')) seen = await chasqui(['status']);
    assert.equal(seen.code, 1);
    assert.match(seen.stdout, /wrong\.yaml +SmtpUser\/default\/web +spec\.sender +unknown field/);
    assert.match(seen.stdout, /^SmtpUser +default +app +True /m);
  });

  test('once it has stopped, status shows what was left, and send says that nobody is there', async () => {
    standalone.kill('SIGTERM');
    assert.deepEqual(await once(standalone, 'exit'), [0, null]);
    const { code, stdout } = await chasqui(['status']);
    assert.equal(code, 1);
    assert.match(stdout, /No standalone runs on /);
    const sent = await chasqui(['send', '--to', 'someone@example.org']);
    assert.equal(sent.code, 69);
    assert.match(sent.stderr, /cannot be reached/);
    assert.equal((await chasqui(['queue', 'list'])).code, 69);
  });
});

/** unbound with a zone on loopback; it cannot reach anything else. Resolves when it answers. */
async function nameServer(folder: string, zone: string, port: number): Promise<ChildProcess> {
  mkdirSync(folder);
  const soa =
    'example.test. 60 IN SOA ns.example.test. hostmaster.example.test. 1 3600 600 86400 60\nexample.test. 60 IN NS ns.example.test.\n';
  writeFileSync(join(folder, 'zone'), soa + zone);
  writeFileSync(
    join(folder, 'unbound.conf'),
    `server:
  interface: 127.0.0.1@${port}
  outgoing-interface: 127.0.0.1
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  username: ""
  chroot: ""
  directory: "${folder}"
  pidfile: ""
  local-zone: "test." nodefault
  module-config: "iterator"
remote-control:
  control-enable: no
auth-zone:
  name: "example.test"
  zonefile: "zone"
  for-downstream: yes
  for-upstream: no
`,
  );
  const server = spawn('unbound', ['-d', '-c', join(folder, 'unbound.conf')], { stdio: ['ignore', 'ignore', 'pipe'] });
  const said: string[] = [];
  server.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  for (;;) {
    if (server.exitCode !== null) throw new Error(`unbound does not start: ${said.join('')}`);
    try {
      await resolver.resolveTxt('_dmarc.example.test');
      return server;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'ECONNREFUSED' || code === 'ETIMEOUT') continue;
      server.kill('SIGKILL');
      throw new Error(`${String(code)}: ${said.join('')}\n${readFileSync(join(folder, 'zone'), 'utf8')}`);
    }
  }
}
