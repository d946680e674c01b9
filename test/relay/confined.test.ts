/**
 * A relay within what the restricted Pod Security Standard leaves to a process, and a little less: a user and group of
 * its own, no capability, no new privileges, nothing to write to but spool and run folder, no HOME; config and tokens
 * are mounted Secrets that it reads by its group (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Destination } from '../harness/destination.ts';
import { MountedFolder } from '../harness/mounted-folder.ts';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts } from '../harness/standalone.ts';

const needsRoot = {
  skip: process.env.CI || process.getuid?.() === 0 ? false : 'only root may give up what it has, and mount',
};
const USER = 65_532;
const CHECKOUT = join(import.meta.dirname, '../..');

/**
 * Runs `$6...` with what a container gets: $1 is what stays writable, $2 the checkout, which may stand where others than
 * root cannot look, $3 the user, $4 the port of what every pod is told to be the Kubernetes API.
 */
const CONFINED = `
set -e
writable=$1 checkout=$2 user=$3 api=$4
shift 5
mount --bind "$writable" "$writable"
mount --bind "$checkout" "$writable/app"
mount -o remount,bind,ro "$writable/app"
for mounted in / "$(findmnt -n -o TARGET -T "$(dirname "$writable")")"; do mount -o remount,bind,ro "$mounted"; done
exec setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \\
  env -i PATH=/usr/bin:/bin KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT="$api" \
  "$writable/app/bin/chasqui" "$@"
`;

test('without rights, a HOME, or a disk to write to but its own, a relay does all its work', needsRoot, async () => {
  await using destination = await Destination.start();
  await using relay = await RelayProcess.start(destination.port);
  await relay.kill();
  const root = dirname(relay.spool);
  const documents = new Map(
    readdirSync(relay.config).map((name) => [name, readFileSync(join(relay.config, name), 'utf8')]),
  );
  for (const folder of [relay.config, relay.spool]) rmSync(folder, { recursive: true });
  rmSync(relay.admin, { force: true });
  mkdirSync(join(root, 'app'));
  for (const folder of [root, relay.spool]) {
    mkdirSync(folder, { recursive: true });
    // A volume with an fsGroup: of root, and writable by the group, whose id new files take over.
    chownSync(folder, 0, USER);
    chmodSync(folder, 0o2775);
  }
  new MountedFolder(relay.config, documents, USER);
  const tokensOf = () => new Map(['view', 'operate'].map((role) => [role, randomBytes(32).toString('hex')] as const));
  const tokens = tokensOf();
  const mountedTokens = new MountedFolder(join(root, 'tokens'), tokens, USER);
  const [adminPort = 0] = await freePorts(1);
  let asks = 0;
  const api = createServer((socket) => {
    asks += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(api, 'listening');
  const address = api.address();
  assert.ok(typeof address === 'object' && address);

  await relay.run(
    [
      ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c', CONFINED, 'sh'],
      ...[root, CHECKOUT, String(USER), String(address.port)],
    ],
    [
      ...['--admin-listen', `127.0.0.1:${adminPort}`],
      ...['--admin-view-token', join(root, 'tokens/view'), '--admin-operate-token', join(root, 'tokens/operate')],
    ],
  );
  const status = readFileSync(`/proc/${relay.pid}/status`, 'utf8');
  assert.match(status, new RegExp(`^Uid:\\s+${USER}\\s+${USER}\\s+${USER}\\s+${USER}$`, 'm'));
  assert.match(status, /^CapEff:\s+0+$/m);
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.doesNotMatch(readFileSync(`/proc/${relay.pid}/environ`, 'utf8'), /HOME=/);
  const mounts = readFileSync(`/proc/${relay.pid}/mountinfo`, 'utf8');
  assert.match(mounts, /^\d+ \d+ \S+ \S+ \/ ro,/m);

  // Signed, kept and delivered, small and larger than what stays in a row.
  for (const lines of [1, 20_000]) {
    await using client = await SmtpClient.connect(relay.port);
    await client.talk(
      ['EHLO client.test', '250-'],
      ['MAIL FROM:<app@example.test>', '250 '],
      ['RCPT TO:<ann@dest.test>', '250 '],
      ['DATA', '354 '],
    );
    const content = `From: app@example.test\r\n\r\n${'This is a line.\r\n'.repeat(lines)}`;
    assert.match(await client.content(content), /^250 /);
  }
  await relay.untilEmpty();
  assert.equal(destination.messages.length, 2);
  for (const { data } of destination.messages) assert.match(data.toString('latin1'), /^DKIM-Signature: /);

  const asked = async (token: string | undefined): Promise<number | undefined> => {
    const headers = { 'X-Chasqui-Token': token };
    const asking = request({
      ...{ host: '127.0.0.1', port: adminPort, path: '/v1/status', agent: false, headers },
      ca: JSON.parse(documents.get('certificates.json') ?? '').default.chain,
    });
    asking.end();
    const [response] = await once(asking, 'response');
    response.resume();
    return response.statusCode;
  };
  assert.equal(await asked(tokens.get('view')), 200);
  assert.equal(await asked(tokens.get('operate')), 200);
  const changed = tokensOf();
  mountedTokens.swap(changed);
  assert.equal(await asked(tokens.get('operate')), 401, 'the former token is good for nothing');
  assert.equal(await asked(changed.get('operate')), 200);

  relay.terminate();
  assert.equal(await relay.ended(), 0);
  api.close();
  assert.equal(asks, 0, 'a relay has nothing to ask the Kubernetes API');
});
