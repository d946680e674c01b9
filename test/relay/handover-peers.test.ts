/**
 * Mail is handed to the peer that is meant and to nobody else: whoever cannot be found, does not answer, or cannot prove
 * who it is gets nothing. The mail is held meanwhile, the replica says why, and once that is over each message arrives.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pipeline } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { actOnQueue, queuePage, replicaStatus } from '../../cli/admin-client.ts';
import { makeCA } from '../../operator/smtprelay/pki.ts';
import type { IndexDocument } from '../../relay/config/documents.ts';
import { readIds } from '../../relay/spool/id-file.ts';
import { Destination, type Script } from '../harness/destination.ts';
import { adminHost, type Peering, RelayProcess } from '../harness/relay-process.ts';
import { relayWith } from '../harness/relay-program.ts';
import { SmtpClient } from '../harness/smtp-client.ts';

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 30_000; !(await holds()); await pause(20)) {
    assert.ok(performance.now() < endMs, `never came: ${what}`);
  }
}

/** Takes mail for now only of the peer, so that the source has something to hand over. */
const onlyFrom =
  (isOpen: () => boolean): Script =>
  ({ at }) =>
    at === 'rcpt' && !isOpen() ? '451 4.2.1 Not now' : undefined;

async function send(replica: RelayProcess, to: string): Promise<void> {
  await using client = await SmtpClient.connect(replica.port, { host: replica.host });
  await client.talk(
    ['EHLO client.test', '250'],
    ['MAIL FROM:<app@example.test>', '250'],
    [`RCPT TO:<${to}>`, '250'],
    ['DATA', '354'],
  );
  assert.match(await client.content('From: app@example.test\r\n\r\nHello\r\n'), /^250 /);
}

async function problemOf(replica: RelayProcess, told: RegExp): Promise<void> {
  let last = '';
  await until(String(told), async () => {
    const { handover } = await replicaStatus(replica.admin);
    last = handover?.problem ?? '';
    return told.test(last);
  }).catch((error: unknown) => assert.fail(`${String(error)}; it says: ${last}`));
}

type Peers = NonNullable<IndexDocument['peers']>;

/** A server in place of a peer, at an address that no certificate is for. */
class Server implements AsyncDisposable {
  readonly host = adminHost(9);
  readonly port: number;
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets: Set<Socket>;

  private constructor(server: ReturnType<typeof createServer>, sockets: Set<Socket>, port: number) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = port;
  }

  static async start(taken: (socket: Socket) => void): Promise<Server> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      taken(socket);
    }).listen(0, adminHost(9));
    await once(server, 'listening');
    const address = server.address();
    assert.ok(typeof address === 'object' && address);
    return new Server(server, sockets, address.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

test('over the network nobody is handed mail but the peer, and the reason is told', async () => {
  let open = false;
  await using destination = await Destination.start({ react: onlyFrom(() => open) });
  const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, [], 'TLS');
  assert.ok(peerOf && sourceOf);
  await using peer = peerOf;
  await using source = sourceOf;
  const right = source.peers ?? {};
  const { host = '', ca = '', port = 0 } = right;
  const { certificate: otherCA } = await makeCA('Another', Date.now());
  await using silent = await Server.start(() => undefined);
  await using alias = await Server.start((socket) => {
    const onward = connect(port, adminHost(0));
    pipeline(socket, onward, socket, () => undefined);
  });
  const tokenFile = join(source.tokens, 'operate');
  const token = source.token('operate');

  // No label has more than 63 characters, so no server needs to be asked for such a name.
  const nobody = `${'x'.repeat(64)}-{ordinal}.test`;
  const cases: readonly { name: string; told: RegExp; peers?: Peers; token?: string }[] = [
    { name: 'unknown', told: /getaddrinfo E/, peers: { host: nobody, port, ca } },
    { name: 'refusing', told: /ECONNREFUSED 127\.0\.2\.0/, peers: { host: '127.0.2.{ordinal}', port, ca } },
    { name: 'silent', told: /no answer within 5000 ms/, peers: { host: silent.host, port: silent.port, ca } },
    { name: 'other-ca', told: /unable to (verify|get)/, peers: { host, port, ca: otherCA } },
    { name: 'other-name', told: /not match certificate/, peers: { host: alias.host, port: alias.port, ca } },
    { name: 'itself', told: /replica 1 is in its place/, peers: { host: adminHost(1), port, ca } },
    { name: 'wrong-token', told: /it answers 401 the token is wrong/, token: 'x'.repeat(40) },
    { name: 'view-token', told: /it answers 403 /, token: source.token('view') },
    { name: 'later-version', told: /in a form of a later version/, peers: { host, port } },
  ];
  for (const { name, told, peers, token: wrong } of cases) {
    open = false;
    source.setReplicas(2);
    await until('the source is wanted', async () => !(await replicaStatus(source.admin)).draining);
    await send(source, `${name}@dest.test`);
    await source.logged(
      `${name} is deferred`,
      ({ event, recipient }) => event === 'deferred' && recipient === `${name}@dest.test`,
    );
    if (peers) source.setPeers(peers);
    if (wrong !== undefined) writeFileSync(tokenFile, wrong);
    source.setReplicas(1);
    await problemOf(source, told);
    assert.equal((await replicaStatus(source.admin)).queue.messages, 1, `${name}: it is held`);
    assert.equal((await replicaStatus(peer.admin)).queue.messages, 0);

    source.setPeers(right);
    writeFileSync(tokenFile, token);
    await source.untilEmpty();
    open = true;
    await peer.untilEmpty();
    assert.deepEqual(
      destination.messages.flatMap(({ to }) => to),
      cases.slice(0, cases.findIndex((one) => one.name === name) + 1).map((one) => `${one.name}@dest.test`),
    );
  }
});

for (const peering of ['unix sockets', 'TLS'] as const satisfies readonly Peering[]) {
  test(`what was marked for a spool waits for it, whoever answers in its place over ${peering}`, async (t) => {
    let open = false;
    await using destination = await Destination.start({ react: onlyFrom(() => open) });
    const place = mkdtempSync(join(tmpdir(), 'peers-'));
    t.after(() => rmSync(place, { recursive: true, force: true }));
    const killAt = join(place, 'kill-at');
    writeFileSync(killAt, 'none');
    const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, relayWith({ killAt }), peering);
    assert.ok(peerOf && sourceOf);
    await using peer = peerOf;
    await using source = sourceOf;
    await send(source, 'ann@dest.test');
    await source.logged('it is deferred', ({ event }) => event === 'deferred');
    writeFileSync(killAt, 'marked');
    source.setReplicas(1);
    await source.killedByItself();
    peer.terminate();
    assert.equal(await peer.ended(), 0);
    const aside = join(place, 'spool');
    renameSync(peer.spool, aside);
    await peer.run();

    await source.run();
    await problemOf(source, /^1 messages are held: they move to spool \w+, which does not answer: /);
    assert.equal((await replicaStatus(source.admin)).queue.moving, 1);
    assert.equal((await replicaStatus(peer.admin)).queue.messages, 0, 'another spool is not handed it');

    peer.terminate();
    assert.equal(await peer.ended(), 0);
    rmSync(peer.spool, { recursive: true });
    renameSync(aside, peer.spool);
    open = true;
    await peer.run();
    await source.untilEmpty();
    await peer.untilEmpty();
    assert.deepEqual(
      destination.messages.flatMap(({ to }) => to),
      ['ann@dest.test'],
    );
  });
}

test('what moves to a spool that is lost goes by another replica once a person has said so, and not before', async (t) => {
  let open = false;
  await using destination = await Destination.start({ react: onlyFrom(() => open) });
  const place = mkdtempSync(join(tmpdir(), 'peers-'));
  t.after(() => rmSync(place, { recursive: true, force: true }));
  const killAt = join(place, 'kill-at');
  writeFileSync(killAt, 'none');
  const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port, relayWith({ killAt }));
  assert.ok(peerOf && sourceOf);
  await using peer = peerOf;
  await using source = sourceOf;
  await send(source, 'ann@dest.test');
  await source.logged('it is deferred', ({ event }) => event === 'deferred');
  writeFileSync(killAt, 'marked');
  source.setReplicas(1);
  await source.killedByItself();
  peer.terminate();
  assert.equal(await peer.ended(), 0);

  // While its peer may still come back, nobody but a person can know that it never will.
  await source.run();
  await problemOf(source, /^1 messages are held: .* where it is lost, see "chasqui queue recall"$/);
  const page = async () => (await queuePage(source.admin, { state: 'moving' }, 10, undefined)).messages;
  const [moving] = await page();
  const ids = readIds(peer.spool);
  assert.deepEqual([moving?.movesTo, moving?.deliveries[0]?.state], [typeof ids === 'object' && ids.spoolId, 'moving']);
  const all = { filter: {} };
  for (const action of ['release', 'retry', 'delete'] as const) {
    const { messages } = await actOnQueue(source.admin, action, all);
    assert.deepEqual(
      messages.map(({ result }) => result),
      ['moving'],
      action,
    );
  }

  open = true;
  rmSync(peer.spool, { recursive: true });
  await peer.run();
  await problemOf(source, /^1 messages are held: /);
  const { messages } = await actOnQueue(source.admin, 'recall', all);
  assert.deepEqual(
    messages.map(({ result }) => result),
    ['done'],
  );
  assert.deepEqual(await page(), []);
  // The source is not wanted: it hands the message to the spool that is there now, or delivers it first.
  await source.untilEmpty();
  await peer.untilEmpty();
  assert.deepEqual(
    destination.messages.flatMap(({ to }) => to),
    ['ann@dest.test'],
  );
});

test('what moves to a spool that answers cannot be taken back', async (t) => {
  await using destination = await Destination.start({ react: onlyFrom(() => false) });
  const [peerOf, sourceOf] = await RelayProcess.replicas(2, destination.port);
  assert.ok(peerOf && sourceOf);
  await using peer = peerOf;
  await using source = sourceOf;
  await send(source, 'ann@dest.test');
  await source.logged('it is deferred', ({ event }) => event === 'deferred');
  source.terminate();
  assert.equal(await source.ended(), 0);
  const ids = readIds(peer.spool);
  assert.ok(typeof ids === 'object');
  const db = new DatabaseSync(join(source.spool, 'queue.db'));
  // Damaged, so that the peer that answers does not get it.
  db.prepare('INSERT INTO moving (message, peer, due) SELECT min(id), ?, ? FROM message').run(ids.spoolId, '{');
  db.exec('UPDATE delivery SET due = NULL');
  db.close();
  source.setReplicas(1);
  await source.run();
  await problemOf(source, /moves to another spool cannot be read/);
  const { messages } = await actOnQueue(source.admin, 'recall', { filter: {} });
  assert.deepEqual(
    messages.map(({ result }) => result),
    ['moving'],
  );
  t.diagnostic(JSON.stringify(messages));
});
