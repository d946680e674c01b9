/** swaks in each of its modes of AUTH and TLS against a running relay: what it is told, and with which status it ends. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SELF_SIGNED } from '../harness/certificate.ts';
import { CLIENTS } from '../harness/clients.ts';
import { Destination } from '../harness/destination.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const needsSwaks = CLIENTS.find(({ name }) => name === 'swaks')?.needs ?? assert.fail('no swaks');

const manifests = (ports: Readonly<Record<string, number>>): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  listeners:
    - {name: submission, protocol: Submission, port: ${ports.submission}}
    - {name: submissions, protocol: Submissions, port: ${ports.submissions}}
    - {name: local, protocol: Submission, port: ${ports.local}, tls: Optional, auth: {exemptNetworks: [127.0.0.0/8]}}
  delivery:
    routes:
      - {match: {domains: ["*"]}, smarthosts: [{host: 127.0.0.1, port: ${ports.destination}, tls: {mode: Disabled}}]}
  monitoring: {port: ${ports.monitoring}}
---
apiVersion: chasqui.dev/v1alpha1
kind: MailDomain
metadata: {name: example-test}
spec: {domain: example.test, relayRefs: [{name: outbound}], dns: {verification: Disabled}}
---
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {name: app}
spec: {relayRef: {name: outbound}, senders: ["*@example.test"], secret: {name: app-smtp}}
`;

let relay: Standalone;
let destination: Destination;
let ports: Readonly<Record<string, number>>;
let otherCa: string;
let folder: string;

before(async () => {
  if (needsSwaks.skip) return;
  folder = mkdtempSync(join(tmpdir(), 'swaks-'));
  otherCa = join(folder, 'other-ca.pem');
  writeFileSync(otherCa, SELF_SIGNED.cert);
  destination = await Destination.start();
  const [submission = 0, submissions = 0, local = 0, monitoring = 0] = await freePorts(4);
  ports = { submission, submissions, local, monitoring, destination: destination.port };
  relay = await Standalone.start({ 'mail.yaml': manifests(ports) });
  await relay.untilReady('SmtpRelay/default/outbound');
  await relay.untilReady('SmtpUser/default/app');
  await relay.untilReady('MailDomain/default/example-test');
});
after(async () => {
  if (needsSwaks.skip) return;
  await relay[Symbol.asyncDispose]();
  await destination[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const secret = (name: string): string => readFileSync(join(relay.state, 'secrets/default/app-smtp', name), 'utf8');

interface Said {
  readonly status: number;
  /** Replies of the relay in their order, code and enhanced code. */
  readonly replies: readonly string[];
  readonly transcript: string;
}

function swaks(listener: string, words: readonly string[]): Promise<Said> {
  const all = [
    ...[
      '--server',
      '127.0.0.1',
      '--port',
      String(ports[listener]),
      '--ehlo',
      'client.example.test',
      '--timeout',
      '60s',
    ],
    ...['--from', 'app@example.test', '--to', 'ana@dest.test'],
    ...words
      .map((word) => word.replace('OUR-CA', join(relay.state, 'secrets/default/app-smtp/ca.crt')))
      .map((word) => word.replace('OTHER-CA', otherCa))
      .map((word) => word.replace('USERNAME', secret('username')).replace('PASSWORD', secret('password'))),
  ];
  return new Promise((resolve) => {
    execFile('swaks', all, (error, stdout, stderr) => {
      const replies = [...stdout.matchAll(/^<[-~*][*]? +(\d{3}) (\d\.\d\.\d+)?/gm)].map(([, code, enhanced]) =>
        enhanced ? `${code} ${enhanced}` : `${code}`,
      );
      resolve({ status: error ? Number(error.code) : 0, replies, transcript: stdout + stderr });
    });
  });
}

const TLS = ['--tls', '--tls-verify', '--tls-ca-path', 'OUR-CA'];
const IMPLICIT = ['--tls-on-connect', '--tls-verify', '--tls-ca-path', 'OUR-CA'];
const login = (mechanism: string, password = 'PASSWORD'): readonly string[] => [
  ...['--auth', mechanism, '--auth-user', 'USERNAME', '--auth-password', password],
];
const SENT = ['250 2.1.0', '250 2.1.5', '354', '250 2.6.0', '221 2.0.0'];
const STARTTLS = ['220', '250', '220 2.0.0', '250'];

/** Statuses: swaks(1), EXIT CODES. */
const MODES: readonly {
  readonly title: string;
  readonly listener: string;
  readonly words: readonly string[];
  readonly status: number;
  readonly replies: readonly string[];
  readonly shows?: RegExp;
}[] = [
  {
    title: 'STARTTLS and PLAIN',
    listener: 'submission',
    words: [...TLS, ...login('PLAIN')],
    status: 0,
    replies: [...STARTTLS, '235 2.7.0', ...SENT],
  },
  {
    title: 'STARTTLS and LOGIN',
    listener: 'submission',
    words: [...TLS, ...login('LOGIN')],
    status: 0,
    replies: [...STARTTLS, '334', '334', '235 2.7.0', ...SENT],
  },
  {
    title: 'STARTTLS with TLS 1.2',
    listener: 'submission',
    words: [...TLS, '--tls-protocol', 'tlsv1_2', ...login('PLAIN')],
    status: 0,
    replies: [...STARTTLS, '235 2.7.0', ...SENT],
    shows: /TLS started with cipher TLSv1\.2:ECDHE-/,
  },
  {
    title: 'STARTTLS with TLS 1.3',
    listener: 'submission',
    words: [...TLS, '--tls-protocol', 'tlsv1_3', ...login('PLAIN')],
    status: 0,
    replies: [...STARTTLS, '235 2.7.0', ...SENT],
    shows: /TLS started with cipher TLSv1\.3:/,
  },
  {
    title: 'STARTTLS with TLS 1.1, which is too old',
    listener: 'submission',
    words: [...TLS, '--tls-protocol', 'tlsv1_1', ...login('PLAIN')],
    status: 29,
    replies: ['220', '250', '220 2.0.0'],
  },
  {
    title: 'TLS from the first byte, and PLAIN',
    listener: 'submissions',
    words: [...IMPLICIT, ...login('PLAIN')],
    status: 0,
    replies: ['220', '250', '235 2.7.0', ...SENT],
  },
  {
    title: 'TLS from the first byte, and LOGIN',
    listener: 'submissions',
    words: [...IMPLICIT, '--tls-protocol', 'tlsv1_2', ...login('LOGIN')],
    status: 0,
    replies: ['220', '250', '334', '334', '235 2.7.0', ...SENT],
    shows: /TLS started with cipher TLSv1\.2:ECDHE-/,
  },
  {
    title: 'another CA than that of the relay',
    listener: 'submission',
    words: ['--tls', '--tls-verify', '--tls-ca-path', 'OTHER-CA', ...login('PLAIN')],
    status: 29,
    replies: ['220', '250', '220 2.0.0'],
    shows: /certificate verify failed/,
  },
  {
    title: 'a mechanism that is not offered',
    listener: 'submission',
    words: [...TLS, ...login('CRAM-MD5')],
    status: 28,
    replies: [...STARTTLS, '221 2.0.0'],
    shows: /requested type/i,
  },
  {
    title: 'any mechanism, best first',
    listener: 'submission',
    words: [...TLS, '--auth-user', 'USERNAME', '--auth-password', 'PASSWORD'],
    status: 0,
    replies: [...STARTTLS, '334', '334', '235 2.7.0', ...SENT],
  },
  {
    title: 'a wrong password',
    listener: 'submission',
    words: [...TLS, ...login('PLAIN', 'wrong')],
    status: 28,
    replies: [...STARTTLS, '535 5.7.8', '221 2.0.0'],
  },
  {
    title: 'no AUTH where it is needed',
    listener: 'submission',
    words: TLS,
    status: 23,
    replies: [...STARTTLS, '530 5.7.0', '221 2.0.0'],
  },
  {
    title: 'no TLS where it is needed',
    listener: 'submission',
    words: [],
    status: 23,
    replies: ['220', '250', '530 5.7.0', '221 2.0.0'],
  },
  {
    title: 'AUTH in clear, which is not offered',
    listener: 'submission',
    words: login('PLAIN'),
    status: 28,
    replies: ['220', '250', '221 2.0.0'],
  },
  {
    title: 'in clear from an exempt network',
    listener: 'local',
    words: [],
    status: 0,
    replies: ['220', '250', ...SENT],
  },
  {
    title: 'STARTTLS from an exempt network, without AUTH',
    listener: 'local',
    words: TLS,
    status: 0,
    replies: [...STARTTLS, ...SENT],
  },
  {
    title: 'pipelined commands',
    listener: 'local',
    words: ['--pipeline'],
    status: 0,
    replies: ['220', '250', ...SENT],
  },
];

for (const { title, listener, words, status, replies, shows } of MODES) {
  test(`swaks: ${title}`, needsSwaks, async () => {
    const sent = destination.messages.length;
    const said = await swaks(listener, words);
    assert.deepEqual([said.status, said.replies], [status, replies], said.transcript);
    if (shows) assert.match(said.transcript, shows);
    if (status === 0) await destination.received(sent + 1);
    else assert.equal(destination.messages.length, sent);
  });
}

test('a name that the certificate is not for is refused by a client that checks it', needsSwaks, async () => {
  const connect = (name: string): Promise<string> =>
    new Promise((resolve) => {
      const words = [
        ...['s_client', '-connect', `127.0.0.1:${ports.submission}`, '-starttls', 'smtp', '-brief'],
        ...['-CAfile', join(relay.state, 'secrets/default/app-smtp/ca.crt')],
        ...['-verify_hostname', name, '-verify_return_error'],
      ];
      const child = execFile('openssl', words, (_error, stdout, stderr) => resolve(stdout + stderr));
      child.stdin?.end('QUIT\r\n');
    });
  assert.match(await connect('localhost'), /Verification: OK/);
  assert.match(await connect('relay.example.test'), /Verification: OK/);
  assert.match(await connect('mail.other.test'), /hostname mismatch/i);
});
