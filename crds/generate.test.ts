import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { load } from 'js-yaml';
import Type from 'typebox';
import { crd, crdFile, crdYaml } from './generate.ts';
import { KINDS } from './kinds.ts';
import { isObject, valueAt } from './problem.ts';
import { structural, withDefaults } from './structural.ts';

type Node = Record<string, unknown>;

/** Each schema node under a schema, with its path. */
function* nodes(schema: unknown, path: string): Generator<[path: string, node: Node]> {
  if (!isObject(schema)) throw new TypeError(`no schema at ${path}`);
  yield [path, schema];
  for (const [name, property] of Object.entries(isObject(schema.properties) ? schema.properties : {})) {
    yield* nodes(property, `${path}.${name}`);
  }
  if (schema.items !== undefined) yield* nodes(schema.items, `${path}[]`);
  if (schema.additionalProperties !== undefined) yield* nodes(schema.additionalProperties, `${path}{}`);
}

/** All that a node of ours may say, out of what a structural schema may. */
const KEYWORDS = new Set([
  ...['type', 'description', 'default', 'properties', 'required', 'items', 'enum', 'pattern', 'format'],
  ...['minimum', 'maximum', 'minLength', 'maxLength', 'minItems', 'maxItems'],
  ...[
    'x-kubernetes-list-type',
    'x-kubernetes-list-map-keys',
    'x-kubernetes-validations',
    'additionalProperties',
    'maxProperties',
  ],
]);

for (const definition of KINDS) {
  describe(`the CRD of ${definition.kind}`, () => {
    const schema = valueAt(crd(definition), '/spec/versions/0/schema/openAPIV3Schema');
    const all = [...nodes(schema, definition.kind)];
    const spec = all.filter(([path]) => path.startsWith(`${definition.kind}.spec`));
    const where = (wrong: (node: Node) => boolean, among = all) =>
      among.filter(([, node]) => wrong(node)).map(([path]) => path);

    test('is as the sources say: run "npm run generate" when this fails', async () => {
      const written = await readFile(join(import.meta.dirname, crdFile(definition)), 'utf8');
      assert.equal(written, crdYaml(definition));
    });

    test('is read back from YAML as it was meant', () => {
      assert.deepEqual(load(crdYaml(definition)), JSON.parse(JSON.stringify(crd(definition))));
    });

    test('says of each node one type, and nothing that Kubernetes refuses', () => {
      assert.deepEqual(
        where((node) => typeof node.type !== 'string'),
        [],
      );
      assert.deepEqual(
        where((node) => Object.keys(node).some((keyword) => !KEYWORDS.has(keyword))),
        [],
      );
    });

    test('describes every field', () => {
      const nameless = where(
        (node) => typeof node.description !== 'string' || !/^[A-Z*a-z].*\.$/s.test(node.description),
      );
      // Kubernetes describes metadata itself, and refuses a schema that does.
      assert.deepEqual(
        nameless.filter((path) => !path.startsWith(`${definition.kind}.metadata`)),
        [],
      );
    });

    test('bounds every string, list and number of the spec', () => {
      const bound: Record<string, string> = { string: 'maxLength', array: 'maxItems', integer: 'maximum' };
      const unbounded = where(
        ({ type, enum: words, ...node }) =>
          words === undefined && (bound[String(type)] ?? 'type') in node === false && String(type) in bound,
        spec,
      );
      assert.deepEqual(unbounded, []);
    });

    test('has keys of list-maps that each item must have', () => {
      for (const [path, node] of all) {
        for (const key of Array.isArray(node['x-kubernetes-list-map-keys']) ? node['x-kubernetes-list-map-keys'] : []) {
          assert.ok((valueAt(node, '/items/required') as string[]).includes(key), `${path}: ${key}`);
        }
      }
    });

    const hasDefaults = (node: unknown): boolean =>
      isObject(node) && [...nodes(node, '')].some(([, { default: fallback }]) => fallback !== undefined);

    test('gives every object of the spec that may be left out a default, where its fields have some', () => {
      const optional = spec.flatMap(([path, node]) =>
        Object.entries(isObject(node.properties) ? node.properties : {}).flatMap(([name, property]) => {
          const required = Array.isArray(node.required) && node.required.includes(name);
          const fields = isObject(property) && isObject(property.properties) ? Object.keys(property.properties) : [];
          return !required &&
            fields.length > 0 &&
            isObject(property) &&
            // What must be said of it cannot be filled in.
            !(Array.isArray(property.required) && property.required.length > 0) &&
            property.default === undefined &&
            hasDefaults(property)
            ? [`${path}.${name}`]
            : [];
        }),
      );
      assert.deepEqual(optional, []);
    });
  });
}

describe('a structural schema', () => {
  test('does not ask for a field that has a default', () => {
    const schema = structural(Type.Object({ a: Type.String(), b: Type.String({ default: 'x' }) }));
    assert.deepEqual(schema.required, ['a']);
    assert.deepEqual(withDefaults(schema, { a: 'y' }), { a: 'y', b: 'x' });
  });

  test('is refused where the source says what Kubernetes cannot', () => {
    assert.throws(() => structural(Type.Object({ a: Type.Union([Type.String(), Type.Integer()]) })), /anyOf/);
    assert.throws(() => structural(Type.Object({ a: Type.Enum(['x', 'y']) })), /type is missing/);
    assert.throws(() => structural(Type.Object({ a: Type.Integer({ exclusiveMinimum: 0 }) })), /exclusiveMinimum/);
    assert.throws(() => structural(Type.Object({}, { additionalProperties: false })), /additionalProperties/);
  });
});
