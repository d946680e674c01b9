/** What an administrator does when mail waits: look why, and hold, release, retry, return or delete it. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { chooseUser, credentialOf } from '../../cli/credential.ts';
import { actEverywhere } from '../../cli/queue-action.ts';
import { listQueues, type Queued } from '../../cli/queue-view.ts';
import { readObjects } from '../../cli/state-folder.ts';
import { submit } from '../../cli/submit.ts';
import type { Filter } from '../../relay/admin/shapes.ts';
import { at, Destination, type Reaction, type Script } from '../harness/destination.ts';
import { chasquiOn, type Ended } from '../harness/program.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

const DEADLINE_MS = 30_000;

const manifests = (port: number, monitoring: number, smarthost: number, other: number): string => `
apiVersion: chasqui.dev/v1alpha1
kind: SmtpRelay
metadata: {name: outbound}
spec:
  hostname: relay.example.test
  replicas: 2
  listeners:
    - {name: submissions, protocol: Submissions, port: ${port}}
  delivery:
    routes:
      - {match: {domains: [other.test]}, smarthosts: [{host: 127.0.0.1, port: ${other}, tls: {mode: Disabled}}]}
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
  dns: {verification: Disabled}
---
apiVersion: chasqui.dev/v1alpha1
kind: SmtpUser
metadata: {name: app}
spec:
  relayRef: {name: outbound}
  senders: ["*@example.test"]
`;

describe('with a standalone of two replicas', () => {
  let destination: Destination;
  let other: Destination;
  let standalone: Standalone;

  before(async () => {
    destination = await Destination.start();
    other = await Destination.start();
    const [port = 0, monitoring = 0] = await freePorts(3);
    standalone = await Standalone.start({ 'all.yaml': manifests(port, monitoring, destination.port, other.port) });
    assert.equal((await chasqui('status', '--wait', '60')).code, 0);
  });
  after(async () => {
    await standalone[Symbol.asyncDispose]();
    await destination[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  });
  /** Each test begins with an empty queue. */
  beforeEach(async () => {
    destination.react = () => undefined;
    other.react = () => undefined;
    await actEverywhere(standalone.state, 'delete', { filter: {} }, false);
    await until('the queue is empty', async () => (await listed()).length === 0);
  });

  const chasqui = (...words: readonly string[]): Promise<Ended> => chasquiOn(standalone.state)(words);

  /** Sends a message as `chasqui send` does; its queue id. */
  async function send(to: string | readonly string[], from = 'app@example.test'): Promise<string> {
    const user = chooseUser(await readObjects(standalone.state, 'SmtpUser'), undefined);
    const credential = await credentialOf(standalone.state, user);
    const { response } = await submit(credential, { from, to: [to].flat(), subject: 'Hello', text: 'Hello\n' });
    return /\b[0-9A-HJKMNP-TV-Z]{9,}\b/.exec(response)?.[0] ?? assert.fail(response);
  }

  /** Asked without the program, since tests ask often. */
  const listed = async (filter: Filter = {}): Promise<readonly Queued[]> =>
    (await listQueues(standalone.state, 1_000, filter)).messages;

  const ids = async (filter: Filter = {}): Promise<readonly string[]> =>
    (await listed(filter)).map(({ queueId }) => queueId);

  /** The ids that `queue list` shows. */
  async function shown(...words: readonly string[]): Promise<readonly string[]> {
    const { code, stdout, stderr } = await chasqui('queue', 'list', '-o', 'json', ...words);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout).map(({ queueId }: { queueId: string }) => queueId);
  }

  async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (!(await holds())) {
      assert.ok(performance.now() < deadlineMs, `never came: ${what}`);
      await pause(20);
    }
  }

  /** Sends a message that is deferred everywhere; its queue id, once it waits. */
  async function waiting(to: string | readonly string[], from?: string): Promise<string> {
    const id = await send(to, from);
    await until(`${[to].flat().join(' ')} waits`, async () =>
      (await listed()).some(
        ({ queueId, deliveries }) => queueId === id && deliveries.every(({ state }) => state === 'deferred'),
      ),
    );
    return id;
  }

  /** SIGKILL of the replica that has the message; resolves when another process is ready in its place. */
  async function killReplicaOf(id: string): Promise<void> {
    const row = (await listed()).find(({ queueId }) => queueId === id);
    const pid = standalone.replicaPids().get(Number(row?.replica.slice(-1))) ?? assert.fail(`${id} is not queued`);
    process.kill(pid, 'SIGKILL');
    await until('another process runs', () => ![...standalone.replicaPids().values()].includes(pid));
    assert.equal((await chasqui('status', '--wait', '60')).code, 0);
  }

  const tempfail = at('rcpt', '451 4.7.1 Greylisted, come back later');
  const arrived = (to: string, at = destination) => at.messages.filter((message) => message.to.includes(to)).length;
  const logged = (event: string, queueId: string) =>
    standalone.lines.filter((line) => line.event === event && line.queueId === queueId);

  /** Holds the final dot of a message until it is told what to answer. */
  function atTheDot(): { script: Script; reached: Promise<void>; answer: (reaction: Reaction) => void } {
    const { promise: reaction, resolve: answer } = Promise.withResolvers<Reaction>();
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
    const script: Script = ({ at: moment }) => {
      if (moment !== 'dot') return undefined;
      reach();
      return reaction;
    };
    return { script, reached, answer };
  }

  test('counts tell why mail waits, and list shows which, in every form', async () => {
    destination.react = tempfail;
    other.react = at('rcpt', '452 4.2.2 Mailbox full');
    const a = await waiting('a@one.test');
    const b = await waiting('b@two.test', 'boss@example.test');
    const c = await waiting('c@other.test');
    const { stdout } = await chasqui('queue', 'counts');
    assert.match(stdout, new RegExp(`^2 +smtp:127\\.0\\.0\\.1:${destination.port} +451 4\\.7\\.1$`, 'm'));
    assert.match(stdout, new RegExp(`^1 +smtp:127\\.0\\.0\\.1:${other.port} +452 4\\.2\\.2$`, 'm'));
    assert.match(stdout, /^3 in all$/m);
    const counts = JSON.parse((await chasqui('queue', 'counts', '-o', 'json')).stdout);
    assert.deepEqual(counts[0], {
      destination: `smtp:127.0.0.1:${destination.port}`,
      ...{ reason: '451 4.7.1', recipients: 2, held: 0 },
    });

    assert.deepEqual(await shown(), [a, b, c], 'oldest first, of both replicas');
    assert.deepEqual(await shown('--destination', 'two.test'), [b]);
    assert.deepEqual(await shown('--destination', `smtp:127.0.0.1:${destination.port}`), [a, b]);
    assert.deepEqual(await shown('--sender', 'boss@example.test'), [b]);
    assert.deepEqual(await shown('--recipient', '@one.test'), [a]);
    assert.deepEqual(await shown('--reason', 'full'), [c]);
    assert.deepEqual(await shown('--older-than', '1h'), []);
    assert.deepEqual(await shown('--newer-than', '1h', '--user', 'app.default'), [a, b, c]);
    assert.match((await chasqui('queue', 'list', '-o', 'yaml')).stdout, new RegExp(`queueId: ['"]?${a}`));
    assert.match((await chasqui('queue', 'show', c, '-o', 'yaml')).stdout, /text: Mailbox full/);
  });

  test('what is on hold is not tried, not after a kill either, and goes when it is released', async () => {
    destination.react = tempfail;
    const id = await waiting('hold@one.test');
    const free = await waiting('free@one.test');
    const held = await chasqui('queue', 'hold', id);
    assert.deepEqual([held.code, held.stdout], [0, '1 message (1 recipient) put on hold\n']);
    assert.match((await chasqui('queue', 'list', '--status', 'held')).stdout, new RegExp(`^${id} .* held \\d+s `, 'm'));

    destination.react = () => undefined;
    await killReplicaOf(id);

    const retried = await chasqui('queue', 'retry', '--all');
    assert.equal(retried.code, 0, retried.stderr);
    await until('what is not on hold has arrived', () => arrived('free@one.test') === 1);
    await until('only the held one is left', async () => (await ids()).join() === id);
    assert.equal(arrived('hold@one.test'), 0);
    assert.equal(logged('held', free).length, 0);

    const released = await chasqui('queue', 'release', id);
    assert.deepEqual([released.code, released.stdout], [0, '1 message (1 recipient) released\n']);
    await until('it has arrived', () => arrived('hold@one.test') === 1);
    assert.deepEqual(
      [...logged('held', id), ...logged('released', id)].map(({ by, recipients }) => [by, recipients]),
      [
        ['socket', ['hold@one.test']],
        ['socket', ['hold@one.test']],
      ],
    );
  });

  test('retry tries now what would wait for an hour', async () => {
    destination.react = tempfail;
    const id = await waiting('retry@one.test');
    destination.react = () => undefined;
    const retried = await chasqui('queue', 'retry', '--destination', 'one.test');
    assert.deepEqual([retried.code, retried.stdout], [0, '1 message (1 recipient) due now\n']);
    await until('it has arrived', () => arrived('retry@one.test') === 1);
    assert.equal(logged('hurried', id).length, 1);
  });

  test('recall leaves alone what does not move to another replica', async () => {
    destination.react = tempfail;
    const id = await waiting('stays@one.test');
    const recalled = await chasqui('queue', 'recall', id);
    assert.deepEqual(
      [recalled.code, recalled.stdout],
      [0, '1 message (1 recipient) not on the way to another replica\n'],
    );
    assert.deepEqual(await shown('--status', 'moving'), []);
    assert.match((await chasqui('queue', 'recall', '--help')).stdout, /may\s+arrive\s+TWICE/);
  });

  test('bounce gives a message up and tells its sender; what goes elsewhere goes on', async () => {
    destination.react = tempfail;
    other.react = tempfail;
    const id = await waiting(['lost@one.test', 'kept@other.test'], 'author@example.test');
    destination.react = () => undefined;
    const bounced = await chasqui('queue', 'bounce', '--destination', 'one.test');
    assert.deepEqual([bounced.code, bounced.stdout], [0, '1 message (1 recipient) returned to their senders\n']);
    await until('the notice has arrived', () => arrived('author@example.test') === 1);
    const notice = destination.messages.find(({ to }) => to.includes('author@example.test'));
    assert.equal(notice?.from, '');
    const text = notice?.data.toString() ?? '';
    assert.match(text, /^Final-Recipient: rfc822; lost@one\.test\r\nAction: failed\r\nStatus: 5\.0\.0\r$/m);
    assert.match(
      text.replace(/\r\n\s+/g, ' '),
      /administrator of this relay gave the message up; the last answer of \S+ was: 451 4\.7\.1 Greylisted/,
    );
    assert.doesNotMatch(text, /Final-Recipient: rfc822; kept/);
    assert.equal(arrived('lost@one.test'), 0);
    assert.deepEqual(await ids(), [id]);
    assert.equal((await chasqui('queue', 'show', id)).stdout.includes('lost@one.test'), false);
    assert.deepEqual(
      logged('bounced', id).map(({ recipient, by, dsn }) => [recipient, by, typeof dsn]),
      [['lost@one.test', 'socket', 'string']],
    );

    other.react = () => undefined;
    await chasqui('queue', 'retry', id);
    await until('the other recipient has it', () => arrived('kept@other.test', other) === 1);
  });

  test('delete removes a message, and nobody is told', async () => {
    destination.react = tempfail;
    const id = await waiting('gone@one.test', 'nobody@example.test');
    const deleted = await chasqui('queue', 'delete', id);
    assert.deepEqual([deleted.code, deleted.stdout], [0, '1 message (1 recipient) deleted\n']);
    assert.deepEqual(await ids(), []);
    const [line] = logged('removed', id);
    assert.deepEqual([line?.by, line?.recipients], ['socket', ['gone@one.test']]);
    // The next message comes after anything that the deletion could have caused.
    destination.react = () => undefined;
    await send('next@one.test');
    await until('the next message has arrived', () => arrived('next@one.test') === 1);
    assert.equal(arrived('nobody@example.test') + arrived('gone@one.test'), 0);
  });

  test('a message that is delivered while it is deleted is not lost: its attempt ends first', async () => {
    const { script, reached, answer } = atTheDot();
    destination.react = script;
    const id = await send('racing@one.test');
    await reached;
    const deleted = await chasqui('queue', 'delete', id);
    assert.equal(deleted.code, 0, deleted.stderr);
    assert.match(
      deleted.stdout,
      /^1 message \(1 recipient\) being tried at this moment: deleted when the attempt ends/,
    );
    answer('250 2.0.0 Taken');
    await until('it is gone', async () => (await ids()).length === 0);
    assert.equal(arrived('racing@one.test'), 1);
    await until('it is told as delivered', () => logged('delivered', id).length === 1);
    assert.equal(logged('removed', id).length, 0);
  });

  test('a message whose attempt fails while it is returned is returned then, once', async () => {
    const { script, reached, answer } = atTheDot();
    destination.react = script;
    const id = await send('failing@one.test', 'racer@example.test');
    await reached;
    const bounced = await chasqui('queue', 'bounce', id);
    assert.match(bounced.stdout, /being tried at this moment: returned to their senders when the attempt ends/);
    assert.equal(arrived('racer@example.test'), 0);
    destination.react = () => undefined;
    answer('451 4.3.0 Try later');
    await until('the notice has arrived', () => arrived('racer@example.test') === 1);
    await until('nothing is left', async () => (await ids()).length === 0);
    assert.equal(arrived('failing@one.test'), 0);
    assert.equal(logged('bounced', id).length, 1);
  });

  for (const [action, event] of [
    ['delete', 'removed'],
    ['bounce', 'returned'],
  ] as const) {
    test(`${action}: a message whose replica is killed before its attempt ends is ${event} at the next start, once`, async () => {
      const { script, reached } = atTheDot();
      destination.react = script;
      const id = await send('killed@one.test', `${action}@example.test`);
      await reached;
      assert.match((await chasqui('queue', action, id)).stdout, /being tried at this moment/);
      assert.deepEqual(await ids({ state: 'held' }), [id]);
      destination.react = () => undefined;
      await killReplicaOf(id);
      await until('it is gone', async () => (await ids()).length === 0);
      assert.equal(logged(event, id).length, 1);
      assert.equal(arrived('killed@one.test'), 0);
      assert.equal(arrived(`${action}@example.test`), action === 'bounce' ? 1 : 0);
    });
  }

  test('what is released before its attempt ends is neither returned nor deleted, after a kill either', async () => {
    const { script, reached } = atTheDot();
    destination.react = script;
    const id = await send('kept@one.test', 'keeper@example.test');
    await reached;
    assert.match((await chasqui('queue', 'bounce', id)).stdout, /being tried at this moment/);
    assert.equal((await chasqui('queue', 'release', id)).stdout, '1 message (1 recipient) released\n');
    destination.react = () => undefined;
    await killReplicaOf(id);
    await until('it has arrived', () => arrived('kept@one.test') === 1);
    await until('nothing is left', async () => (await ids()).length === 0);
    assert.equal(arrived('keeper@example.test'), 0);
    assert.equal(logged('returned', id).length, 0);
  });

  test('a dry run tells how many it would be, and changes nothing', async () => {
    destination.react = tempfail;
    const id = await waiting(['dry@one.test', 'run@one.test']);
    const dry = await chasqui('queue', 'delete', '--recipient', '@one.test', '--dry-run');
    assert.deepEqual([dry.code, dry.stdout], [0, '1 message (2 recipients) would be deleted (dry run)\n']);
    const [row] = JSON.parse((await chasqui('queue', 'hold', id, '--dry-run', '-o', 'json')).stdout);
    assert.deepEqual([row.queueId, row.recipients, row.result], [id, 2, 'matched']);
    assert.deepEqual(await shown('--status', 'deferred'), [id]);
  });

  test('a script can tell what went wrong by the exit code', async () => {
    destination.react = tempfail;
    const id = await waiting('script@one.test');
    const some = await chasqui('queue', 'hold', id.toLowerCase(), 'NOSUCH1');
    assert.equal(some.code, 1);
    assert.match(some.stdout, /^1 message \(1 recipient\) put on hold$/m);
    assert.match(some.stderr, /not queued: NOSUCH1/);
    for (const words of [['hold'], ['delete', id, '--all'], ['bounce', id, '--sender', '@example.test']]) {
      const { code, stdout, stderr } = await chasqui('queue', ...words);
      assert.deepEqual([words[0], code, stdout], [words[0], 2, '']);
      assert.match(stderr, /--all|not both/);
    }
    assert.equal((await chasqui('queue', 'list', '--older-than', '1 day')).code, 2);
    const none = await chasqui('queue', 'delete', '--sender', '@nobody.test');
    assert.deepEqual([none.code, none.stdout], [0, 'No message matches.\n']);
    assert.deepEqual(await shown('--status', 'held'), [id]);
  });
});
