/** Wrong manifests, of both classes: they hurt nothing else, and a person learns of them wherever they look. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send, USER, userManifest } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const CHASQUI = join(import.meta.dirname, '../../bin/chasqui');

interface Told {
  readonly file: string;
  readonly object: string;
  readonly field: string;
  readonly message: RegExp;
}

/** What an API server would refuse: of objects that were never right, and of objects in force. */
const NEVER_RIGHT: readonly Told[] = [
  { file: 'web.yaml', object: 'SmtpUser/default/web', field: 'spec.sender', message: /unknown field/ },
  { file: 'bad.yaml', object: 'MailDomain/default/bad', field: 'spec.dmarc.policy', message: /Quarantine/ },
];
const WRONG_EDITS: readonly Told[] = [
  { file: 'relay.yaml', object: RELAY, field: 'spec.listeners[0].port', message: /65535/ },
  { file: 'domain.yaml', object: DOMAIN, field: 'spec.domain', message: /cannot change/ },
];
/** What an API server would take, and a controller refuses. */
const REFUSED: readonly Told[] = [
  {
    file: 'rival.yaml',
    object: 'MailDomain/default/rival',
    field: 'spec.domain',
    message: /held by MailDomain default\/example-test/,
  },
  { file: 'lost.yaml', object: 'MailDomain/default/lost', field: 'spec.relayRefs', message: /no SmtpRelay nowhere/ },
  {
    file: 'forger.yaml',
    object: 'SmtpUser/default/forger',
    field: 'spec.senders',
    message: /MailDomain for other\.test/,
  },
];

test('what is wrong leaves all else working, and is told in log, status and conditions, with file and field', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }),
    'domain.yaml': domain(),
    'user.yaml': userManifest,
  });
  for (const id of [RELAY, DOMAIN, USER]) await standalone.untilReady(id);

  const web = userManifest.replace('name: app', 'name: web').replace('app-smtp', 'web-smtp');
  standalone.write('web.yaml', web.replace('senders', 'sender: [], senders'));
  standalone.write('bad.yaml', domain('bad', 'bad.test').replace('spec: {', 'spec: {dmarc: {policy: Maybe}, '));
  standalone.edit('relay.yaml', (text) => text.replace(`port: ${port}`, 'port: 70000'));
  standalone.edit('domain.yaml', (text) => text.replace('example.test', 'changed.test'));
  standalone.write('rival.yaml', domain('rival'));
  standalone.write('lost.yaml', domain('lost', 'lost.test').replace('outbound', 'nowhere'));
  standalone.write('forger.yaml', web.replace('name: web', 'name: forger').replace('@example.test', '@other.test'));

  const isInLog = ({ file, object, field, message }: Told): boolean =>
    standalone.lines.some((line) => {
      const id = line.object ?? [line.kind, line.namespace, line.name].join('/');
      const text = [line.field, line.message].join(': ');
      return line.level === 'warn' && line.file === file && id === object && text.includes(field) && message.test(text);
    });
  for (const told of [...NEVER_RIGHT, ...WRONG_EDITS, ...REFUSED]) {
    await standalone.until(`${told.file} is in the log`, () => isInLog(told));
  }

  for (const { file, object, field, message } of WRONG_EDITS) {
    const condition = standalone.condition(object, 'ManifestValid');
    assert.equal(condition?.status, 'False');
    assert.ok(condition.message.startsWith(`${file}: ${field}: `), condition.message);
    assert.match(condition.message, message);
  }
  for (const { object, field, message } of REFUSED) {
    const condition = standalone.condition(object, 'Accepted');
    assert.equal(condition?.status, 'False');
    assert.ok(condition.message.startsWith(`${field}: `), condition.message);
    assert.match(condition.message, message);
  }
  for (const { object } of NEVER_RIGHT) assert.equal(standalone.object(object), undefined);

  const { code, stdout } = await status(standalone, '-o', 'json');
  assert.equal(code, 1);
  const { problems } = JSON.parse(stdout) as { problems: readonly Record<string, string>[] };
  for (const { file, object, field, message } of [...NEVER_RIGHT, ...WRONG_EDITS, ...REFUSED]) {
    const shown = problems.filter((problem) => problem.object === object);
    assert.equal(shown.length, 1, object);
    assert.equal(shown[0]?.file, file);
    assert.match(`${shown[0]?.field}: ${shown[0]?.message}`, message);
    assert.ok(`${shown[0]?.field}: ${shown[0]?.message}`.includes(field));
  }

  for (const id of [RELAY, DOMAIN, USER]) assert.equal(standalone.condition(id, 'Ready')?.status, 'True', id);
  await send(port, 'all the same');
  await destination.received(1);

  for (const { file } of [...NEVER_RIGHT, ...REFUSED]) standalone.remove(file);
  standalone.write('relay.yaml', relay({ port, submission, monitoring, destination: destination.port }));
  standalone.write('domain.yaml', domain());
  await standalone.until('all is right again', async () => (await status(standalone)).code === 0);
});

function status(standalone: Standalone, ...words: readonly string[]): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve) => {
    const child = execFile(CHASQUI, ['status', '--state', standalone.state, ...words], (_, stdout) =>
      resolve({ code: child.exitCode ?? -1, stdout }),
    );
  });
}
