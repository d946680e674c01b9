import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { KindName } from '../../../crds/resource.ts';
import { SETTLE_MS } from './admission.ts';
import { STILL_MS } from './deletion.ts';
import type { Log } from './log.ts';
import { ManifestSource } from './manifest-source.ts';
import { ObjectStore } from './store.ts';

const domain = (name: string, of = `${name}.test`): string =>
  `apiVersion: chasqui.dev/v1alpha1\nkind: MailDomain\nmetadata: {name: ${name}}\nspec: {domain: ${of}, relayRefs: [{name: outbound}]}\n`;

/** A manifest folder, the objects in force, and a clock that only the test moves. */
class Scene implements Disposable {
  readonly #root = mkdtempSync(path.join(tmpdir(), 'source-'));
  readonly folder = path.join(this.#root, 'manifests');
  readonly state = path.join(this.#root, 'state');
  readonly lines: string[] = [];
  #ms = 0;
  store!: ObjectStore;
  #source!: ManifestSource;

  constructor(allowEmpty = false) {
    mkdirSync(this.folder);
    mkdirSync(this.state);
    this.restart(allowEmpty);
  }

  /** What a kill and a new start leave: only what is on disk. */
  restart(allowEmpty = false): void {
    const say = (fields: object, message: string): void => void this.lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug: say, info: say, warn: say, error: say };
    this.store = new ObjectStore(path.join(this.state, 'objects'), () => 1_700_000_000_000 + this.#ms);
    const { folder, state, store } = this;
    this.#source = new ManifestSource({ folder, state, allowEmpty, store, log, monotonicMs: () => this.#ms });
  }

  write(name: string, content: string): void {
    writeFileSync(path.join(this.folder, name), content);
  }

  remove(name: string): void {
    rmSync(path.join(this.folder, name), { recursive: true });
  }

  look(afterMs = 0): Promise<number | undefined> {
    this.#ms += afterMs;
    return this.#source.look();
  }

  /** Looks until everything that stands still has been acted on. */
  async settle(): Promise<void> {
    for (const afterMs of [0, SETTLE_MS, STILL_MS, STILL_MS]) await this.look(afterMs);
  }

  names(kind: KindName = 'MailDomain'): readonly string[] {
    return this.store
      .list(kind)
      .map(({ metadata }) => metadata.name)
      .sort();
  }

  domain(name: string) {
    return this.store.get('MailDomain', { namespace: 'default', name });
  }

  conditionsOnDisk(name: string): readonly { type: string; status: string; reason: string; message: string }[] {
    const file = path.join(this.state, 'objects/MailDomain/default', `${name}.json`);
    return JSON.parse(readFileSync(file, 'utf8')).status?.conditions ?? [];
  }

  problems(): readonly { file: string; object?: string; field?: string; message: string }[] {
    return JSON.parse(readFileSync(path.join(this.state, 'problems.json'), 'utf8'));
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true });
  }
}

test('a manifest is in force once its file has stood still for a moment', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  assert.equal(await scene.look(), SETTLE_MS);
  assert.deepEqual(scene.names(), []);
  assert.equal(await scene.look(SETTLE_MS), undefined);
  assert.deepEqual(scene.names(), ['a']);
  assert.deepEqual(scene.domain('a')?.spec.dkim.algorithms, ['RSA2048', 'Ed25519']);
});

test('an edit makes a new generation of the same object, and a comment does not', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  const before = scene.domain('a')?.metadata;
  scene.write('a.yaml', `# a comment\n${domain('a')}`);
  await scene.settle();
  assert.deepEqual(scene.domain('a')?.metadata, before);
  scene.write('a.yaml', domain('a').replace('[{name: outbound}]', '[{name: other}]'));
  await scene.settle();
  assert.deepEqual(scene.domain('a')?.metadata, { ...before, generation: 2 });
});

test('a wrong edit keeps the last good version in force, also over a restart, and is told with file and field', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  const good = scene.domain('a');
  scene.write('a.yaml', domain('a').replace('relayRefs', 'relays'));
  await scene.settle();
  for (let start = 0; start < 2; start++) {
    assert.deepEqual(scene.domain('a'), good);
    const [condition] = scene.conditionsOnDisk('a');
    assert.deepEqual([condition?.type, condition?.status, condition?.reason], ['ManifestValid', 'False', 'Invalid']);
    assert.match(condition?.message ?? '', /a\.yaml: spec\.relays: unknown field/);
    assert.deepEqual(scene.problems(), []);
    scene.restart();
    await scene.settle();
  }
  assert.match(scene.lines.join('\n'), /a\.yaml: spec\.relays: unknown field/);
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  assert.deepEqual(scene.conditionsOnDisk('a'), []);
});

test('a status that a controller writes does not take the word of a wrong manifest away', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  scene.write('a.yaml', domain('a').replace('relayRefs', 'relays'));
  await scene.settle();
  await scene.store.patchStatus('MailDomain', { namespace: 'default', name: 'a' }, { observedGeneration: 1 });
  assert.deepEqual(scene.domain('a')?.status, { observedGeneration: 1 });
  assert.deepEqual(
    scene.conditionsOnDisk('a').map(({ type }) => type),
    ['ManifestValid'],
  );
});

test('a changed immutable field is refused', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a', 'one.test'));
  await scene.settle();
  scene.write('a.yaml', domain('a', 'two.test'));
  await scene.settle();
  assert.equal(scene.domain('a')?.spec.domain, 'one.test');
  assert.match(scene.conditionsOnDisk('a')[0]?.message ?? '', /a\.yaml: spec\.domain: cannot change/);
});

test('an object that was never right is told in problems.json and hurts no other', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a').replace('relayRefs', 'relays'));
  scene.write('b.yaml', domain('b'));
  scene.write('c.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n');
  await scene.settle();
  assert.deepEqual(scene.names(), ['b']);
  const told = scene.problems().map(({ file, object, field }) => [file, object, field]);
  assert.deepEqual(told[0], ['c.yaml', 'ConfigMap default/x', undefined]);
  assert.ok(
    told.some(([file, object, field]) => `${file} ${object} ${field}` === 'a.yaml MailDomain/default/a spec.relays'),
  );
});

test('a syntax error keeps all objects of the file in force and is told on each', async () => {
  using scene = new Scene();
  scene.write('a.yaml', `${domain('a')}---\n${domain('b')}`);
  await scene.settle();
  scene.write('a.yaml', `${domain('a')}---\nspec: [\n`);
  await scene.settle();
  assert.deepEqual(scene.names(), ['a', 'b']);
  assert.match(scene.conditionsOnDisk('b')[0]?.message ?? '', /a\.yaml: line \d+, column \d+: /);
  assert.equal(scene.problems()[0]?.file, 'a.yaml');
});

test('an object in two files is an error at both, and what was in force before stays', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a', 'one.test'));
  await scene.settle();
  scene.write('b.yaml', domain('a', 'one.test').replace('outbound', 'other'));
  scene.write('c.yaml', `${domain('c')}---\n${domain('c')}`);
  await scene.settle();
  assert.deepEqual(scene.domain('a')?.spec.relayRefs, [{ name: 'outbound' }]);
  assert.match(scene.conditionsOnDisk('a')[0]?.message ?? '', /a\.yaml: stands in a\.yaml and b\.yaml.*; b\.yaml: /);
  assert.match(scene.problems()[0]?.message ?? '', /stands 2 times/);
  scene.remove('a.yaml');
  await scene.settle();
  assert.deepEqual(scene.domain('a')?.spec.relayRefs, [{ name: 'other' }]);
  assert.deepEqual(scene.conditionsOnDisk('a'), []);
});

test('an object goes with its file, two seconds later', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  scene.write('b.yaml', domain('b'));
  await scene.settle();
  scene.remove('a.yaml');
  assert.equal(await scene.look(SETTLE_MS), STILL_MS);
  await scene.look(STILL_MS - 1);
  assert.deepEqual(scene.names(), ['a', 'b']);
  await scene.look(1);
  assert.deepEqual(scene.names(), ['b']);
});

test('an object that is wrong does not keep another from going', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  scene.write('b.yaml', domain('b').replace('relayRefs', 'relays'));
  await scene.settle();
  scene.remove('a.yaml');
  await scene.settle();
  assert.deepEqual(scene.names(), []);
});

test('an emptied, an unmounted and a restored folder delete nothing', async () => {
  using scene = new Scene();
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  const uid = scene.domain('a')?.metadata.uid;
  scene.remove('a.yaml');
  await scene.settle();
  rmSync(scene.folder, { recursive: true });
  await scene.settle();
  assert.match(scene.problems()[0]?.message ?? '', /there is no such folder/);
  scene.restart();
  await scene.settle();
  mkdirSync(scene.folder);
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  assert.equal(scene.domain('a')?.metadata.uid, uid);
  assert.deepEqual(scene.problems(), []);
});

test('an emptied folder deletes everything where that is allowed', async () => {
  using scene = new Scene(true);
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  scene.remove('a.yaml');
  await scene.settle();
  assert.deepEqual(scene.names(), []);
});

test('no prefix of a file deletes what the whole file holds, however long the writing takes', async () => {
  using scene = new Scene();
  const whole = `${domain('a')}---\n${domain('b')}---\n${domain('c')}`;
  scene.write('a.yaml', whole);
  scene.write('other.yaml', domain('other'));
  await scene.settle();
  for (let length = 0; length < whole.length; length++) {
    const prefix = whole.slice(0, length);
    scene.write('a.yaml', prefix);
    // One that ends with a line might be an edit that removes the rest: it is one only once it has stood still.
    await scene.look(STILL_MS - 1);
    await scene.look(STILL_MS - 1);
    if (!prefix.endsWith('\n')) await scene.look(10 * STILL_MS);
    assert.deepEqual(scene.names(), ['a', 'b', 'c', 'other'], `after ${length} bytes`);
  }
});

test('an object with a finalizer stays, marked as deleted, until it is taken off; its manifest makes a new one then', async () => {
  using scene = new Scene();
  const key = { namespace: 'default', name: 'a' };
  scene.write('a.yaml', domain('a'));
  scene.write('b.yaml', domain('b'));
  await scene.settle();
  const uid = scene.domain('a')?.metadata.uid;
  await scene.store.setFinalizer('MailDomain', key, true);
  scene.remove('a.yaml');
  await scene.settle();
  scene.restart();
  assert.equal(scene.domain('a')?.metadata.uid, uid);
  assert.notEqual(scene.domain('a')?.metadata.deletionTimestamp, undefined);
  scene.write('a.yaml', domain('a'));
  await scene.settle();
  assert.equal(scene.domain('a')?.metadata.uid, uid);
  await scene.store.setFinalizer('MailDomain', key, false);
  assert.equal(scene.domain('a'), undefined);
  await scene.look();
  assert.notEqual(scene.domain('a')?.metadata.uid, uid);
});
