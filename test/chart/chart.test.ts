import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { load } from 'js-yaml';
import schema from '../../charts/chasqui/values.schema.json' with { type: 'json' };
import { crdFile, crdYaml } from '../../crds/generate.ts';
import { KINDS } from '../../crds/kinds.ts';
import packageJson from '../../package.json' with { type: 'json' };

const CHART = join(import.meta.dirname, '../../charts/chasqui');

test('the CRDs of the chart are those of the sources: run make generate', async () => {
  const folder = join(CHART, 'files/crds');
  assert.deepEqual(await readdir(folder), KINDS.map(crdFile).toSorted());
  for (const kind of KINDS) assert.equal(await readFile(join(folder, crdFile(kind)), 'utf8'), crdYaml(kind));
});

test('the chart has the version of the program', async () => {
  const chart: unknown = load(await readFile(join(CHART, 'Chart.yaml'), 'utf8'));
  assert.ok(typeof chart === 'object' && chart !== null && 'version' in chart && 'appVersion' in chart);
  assert.deepEqual([chart.version, chart.appVersion], [packageJson.version, packageJson.version]);
});

test('each value that may be given has a default, which shows that it is there', async () => {
  const values: unknown = load(await readFile(join(CHART, 'values.yaml'), 'utf8'));
  // What Helm gives to all charts.
  const { global: _, ...own } = schema.properties;
  const missing = (properties: object, given: unknown, path: string): readonly string[] =>
    Object.entries(properties).flatMap(([name, property]) => {
      const value =
        typeof given === 'object' && given !== null ? Object.entries(given).find(([key]) => key === name) : undefined;
      if (!value) return [`${path}/${name}`];
      return property.properties ? missing(property.properties, value[1], `${path}/${name}`) : [];
    });
  assert.deepEqual(missing(own, values, ''), []);
});
