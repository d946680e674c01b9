/**
 * Config folders that no operator wrote: documents with anything in them, files with bytes changed, versions half
 * written. A relay takes what is whole, leaves out single entries that are wrong, and else goes on as it was.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import type { RelayConfig } from '../../relay/config/config.ts';
import { CERTIFICATES, INDEX, SETTINGS } from '../../relay/config/documents.ts';
import { openConfig } from '../../relay/config/live-config.ts';
import { buildConfig, ConfigError, readDocuments } from '../../relay/config/read-folder.ts';
import { CONFIG, PASSWORD, Receiving, verifierOf } from '../harness/receiving.ts';
import { base64 } from '../harness/smtp-client.ts';
import { converse } from './converse.ts';
import { parameters } from './runs.ts';
import { repliesIn } from './session-oracle.ts';

type Documents = ReadonlyMap<string, string>;
type Value = null | boolean | number | string | readonly Value[] | { readonly [key: string]: Value };

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** With an index that names them as they are. */
function indexed(documents: Documents, replicas = 1): Documents {
  const hashes = Object.fromEntries([...documents].map(([name, text]) => [name, sha256(text)]));
  return new Map([...documents, [INDEX, JSON.stringify({ formatVersion: 1, replicas, documents: hashes })]]);
}

const LIMITED = {
  username: 'limited.default',
  senders: ['*@example.test'],
  verifier: verifierOf(PASSWORD),
  quota: { recipientsPerHour: 10 },
  allowedNetworks: ['127.0.0.0/8'],
  suspended: false,
};
const USERS = 'users-00.json';
const DOMAINS = 'domains-00.json';
const VALID: Documents = new Map([
  [SETTINGS, JSON.stringify(CONFIG.settings)],
  [CERTIFICATES, JSON.stringify(CONFIG.certificates)],
  [DOMAINS, JSON.stringify({ domains: [...CONFIG.domains.values()] })],
  [USERS, JSON.stringify({ users: [...CONFIG.users.values(), LIMITED] })],
]);

/** Undefined where the documents are refused as they should be; any other error is a fault. */
function built(documents: Documents): RelayConfig | undefined {
  try {
    return buildConfig(documents);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return undefined;
  }
}

const nasty: fc.Arbitrary<Value> = fc.oneof(
  fc.constantFrom<Value>(null, true, false, 0, 1, -1, 0.5, 2 ** 31, 2 ** 53, 1e308, '', 'x', [], {}, [null], [[]], '*'),
  fc.constantFrom<Value>(
    'x\r\nInjected: y',
    '\0',
    '../../etc/passwd',
    '__proto__',
    'constructor',
    '0.0.0.0/0',
    '::/999',
  ),
  fc.constantFrom<Value>('(a+)+$', '*@', '@', '[', 'x'.repeat(100_000), { __proto__: null, toString: 1 }, 'Disabled'),
  fc.jsonValue({ maxDepth: 3 }).map((value): Value => JSON.parse(JSON.stringify(value))),
);

/** Places of a value: its own, and those of all in it. */
function* places(value: Value, path: readonly (string | number)[] = []): Generator<readonly (string | number)[]> {
  yield path;
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* places(inner, [...path, key]);
}

/** With another value at a place, or, where there is none, without what stands there. */
function changed(value: Value, [key, ...rest]: readonly (string | number)[], to: Value | undefined): Value {
  if (key === undefined) return to ?? null;
  if (Array.isArray(value)) {
    const items: readonly Value[] = value;
    return items.flatMap((item, at) => {
      if (String(at) !== String(key)) return [item];
      return rest.length === 0 ? (to === undefined ? [] : [to]) : [changed(item, rest, to)];
    });
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, item]) => {
      if (name !== String(key)) return [[name, item]];
      return rest.length === 0 ? (to === undefined ? [] : [[name, to]]) : [[name, changed(item, rest, to)]];
    }),
  );
}

interface Edit {
  readonly name: string;
  readonly where: number;
  readonly to: Value | undefined;
}
const edit: fc.Arbitrary<Edit> = fc.record({
  name: fc.constantFrom(...VALID.keys()),
  where: fc.nat(1_000),
  to: fc.option(nasty, { nil: undefined, freq: 4 }),
});

function edited(documents: Documents, { name, where, to }: Edit): Documents {
  const value: Value = JSON.parse(documents.get(name) ?? 'null');
  const all = [...places(value)];
  return new Map([...documents, [name, JSON.stringify(changed(value, all[where % all.length] ?? [], to))]]);
}

test('documents with anything in them: a relay takes mail by what it takes of them', async () => {
  await using relay = await Receiving.start();
  let taken = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      const config = built(indexed(edits.reduce(edited, VALID)));
      if (config === undefined) {
        refused += 1;
        return;
      }
      taken += 1;
      relay.change(config);
      for (const listener of ['local', 'submissions']) {
        const lines = [
          'EHLO x',
          `AUTH PLAIN ${base64(`\0limited.default\0${PASSWORD}`)}`,
          'MAIL FROM:<app@example.test>',
        ];
        const message = 'DATA\r\nFrom: app@example.test\r\n\r\nHello\r\n.\r\nQUIT\r\n';
        const sent = `${lines.join('\r\n')}\r\nRCPT TO:<ana@dest.test>\r\nRCPT TO:<b@routed.test>\r\n${message}`;
        const said = await converse(relay.port(listener), listener === 'submissions', [Buffer.from(sent)]);
        assert.match(repliesIn(said)[0] ?? '', /^220 |^421 /);
      }
      assert.deepEqual(
        relay.log.filter((line) => line.startsWith('error')),
        [],
      );
      relay.change(CONFIG);
    }),
    parameters(2),
  );
  assert.ok(taken > 10 && refused > 10, `${taken} were taken, ${refused} refused`);
});

test('an entry that is wrong is left out and told, and takes no other with it', () => {
  const other = (config: RelayConfig | undefined) => [config?.users.has('app.default'), config?.domains.size];
  fc.assert(
    fc.property(fc.nat(1_000), fc.option(nasty, { nil: undefined }), (where, to) => {
      const users: readonly Value[] = JSON.parse(VALID.get(USERS) ?? '').users;
      const inSecond = [...places(users[1] ?? null)];
      const second = changed(users[1] ?? null, inSecond[where % inSecond.length] ?? [], to);
      fc.pre(JSON.stringify(second).includes('"username":"app.default"') === false);
      const config = built(indexed(new Map([...VALID, [USERS, JSON.stringify({ users: [users[0], second] })]])));
      assert.deepEqual(other(config), [true, 3]);
      assert.equal((config?.users.size ?? 0) + (config?.rejected.length ?? 0), 2);
      for (const problem of config?.rejected ?? []) assert.match(problem, /^users-00\.json\[1\]: \//);
    }),
    parameters(3),
  );
});

function write(folder: string, documents: Documents): void {
  for (const [name, text] of documents) writeFileSync(join(folder, name), text);
}

const DAMAGE = {
  truncated: (file, text, at) => writeFileSync(file, text.subarray(0, at)),
  longer: (file, text, _, bytes) => writeFileSync(file, Buffer.concat([text, bytes])),
  changed: (file, text, at, bytes) =>
    writeFileSync(file, Buffer.concat([text.subarray(0, at), bytes, text.subarray(at)])),
  missing: (file) => rmSync(file),
  folder: (file) => {
    rmSync(file);
    mkdirSync(file);
  },
  endless: (file) => {
    rmSync(file);
    symlinkSync('/dev/zero', file);
  },
  loop: (file) => {
    rmSync(file);
    symlinkSync(file, file);
  },
} as const satisfies Record<string, (file: string, text: Buffer, at: number, bytes: Uint8Array) => void>;

test('files with other bytes: what is read is what the index names, or nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const version = indexed(VALID);
  const damage = fc.constantFrom<keyof typeof DAMAGE>(
    'truncated',
    'longer',
    'changed',
    'missing',
    'folder',
    'endless',
    'loop',
  );
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...version.keys()),
      damage,
      fc.nat(10_000),
      bytes,
      async (name, how, where, more) => {
        write(folder, version);
        const text = Buffer.from(version.get(name) ?? '');
        DAMAGE[how](join(folder, name), text, where % text.length, more);
        try {
          const documents = await readDocuments(folder);
          const index: { documents: Record<string, string> } = JSON.parse(documents.get(INDEX) ?? '');
          for (const [document, hash] of Object.entries(index.documents)) {
            assert.equal(sha256(documents.get(document) ?? ''), hash);
          }
          built(documents);
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
        } finally {
          rmSync(join(folder, name), { recursive: true, force: true });
        }
      },
    ),
    parameters(2),
  );
});

test('versions that follow each other, whole and broken: only whole ones are ever in force, and the last one is', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'live-config-'));
  t.after(() => rmSync(root, { recursive: true }));
  const [folder, spool] = [join(root, 'config'), join(root, 'spool')];
  for (const made of [folder, spool]) mkdirSync(made);
  const whole = new Set<string>();
  const publish = (documents: Documents) => {
    write(folder, documents);
    if (built(documents)) whole.add(sha256(documents.get(INDEX) ?? ''));
  };
  publish(indexed(VALID));
  const config = await openConfig(folder, spool, { log: () => {} });
  t.after(() => config.close());
  const inForce: string[] = [];
  config.onChange(({ hash }) => inForce.push(hash));
  let replicas = 1;
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 2 }), fc.boolean(), async (edits, half) => {
      replicas += 2;
      const version = indexed(edits.reduce(edited, VALID), replicas);
      // Half: the documents of one version with the index of another.
      if (half) write(folder, new Map([...version].filter(([name]) => name !== INDEX)));
      else publish(version);
      await pause(5);
      const last = indexed(VALID, replicas + 1);
      publish(last);
      const deadline = performance.now() + 20_000;
      while (config.current().hash !== sha256(last.get(INDEX) ?? '')) {
        assert.ok(performance.now() < deadline, 'the last version is never in force');
        await pause(5);
      }
      for (const hash of inForce) assert.ok(whole.has(hash));
    }),
    parameters(0.2),
  );
});
