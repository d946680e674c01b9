/** The alerts of the chart: each fires when it should and only then, asks for what is measured, and has a runbook. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { load } from 'js-yaml';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { declarations, operatorDeclarations } from '../../docs/metrics.ts';

const ROOT = join(import.meta.dirname, '../..');
const ALERTS = 'charts/chasqui/files/alerts.yaml';
const CASES = 'test/chart/alerts.promtool.yaml';
const RUNBOOKS = join(ROOT, 'docs/runbooks');
const needsPromtool = { skip: !process.env.CI && spawnSync('promtool', ['--version']).error !== undefined };

const RulesFile = Schema.Compile(
  Type.Object({
    groups: Type.Array(
      Type.Object({
        rules: Type.Array(
          Type.Object({
            alert: Type.String(),
            expr: Type.String(),
            labels: Type.Object({ severity: Type.Enum(['critical', 'warning']) }),
            annotations: Type.Object({ summary: Type.String(), description: Type.String() }),
          }),
        ),
      }),
    ),
  }),
);
const CasesFile = Schema.Compile(
  Type.Object({
    tests: Type.Array(
      Type.Object({
        alert_rule_test: Type.Array(Type.Object({ alertname: Type.String(), exp_alerts: Type.Array(Type.Unknown()) })),
      }),
    ),
  }),
);

const rules = RulesFile.Parse(load(await readFile(join(ROOT, ALERTS), 'utf8'))).groups.flatMap((group) => group.rules);
const names = rules.map(({ alert }) => alert);

const promtool = (...words: string[]) => {
  const { status, stdout, stderr } = spawnSync('promtool', words, { cwd: ROOT, encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}` };
};

test('promtool takes the rules, and each fires and keeps quiet as its cases say', needsPromtool, () => {
  for (const words of [
    ['check', 'rules', ALERTS],
    ['test', 'rules', CASES],
  ]) {
    const { status, said } = promtool(...words);
    assert.equal(status, 0, said);
  }
});

test('the cases would notice another threshold', needsPromtool, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'alerts-'));
  try {
    for (const file of [ALERTS, CASES]) await cp(join(ROOT, file), join(folder, file), { recursive: true });
    const changed = (await readFile(join(ROOT, ALERTS), 'utf8')).replace('> 43200', '> 33200');
    await writeFile(join(folder, ALERTS), changed);
    const { status, said } = promtool('test', 'rules', join(folder, CASES));
    assert.notEqual(status, 0);
    assert.match(said, /alertname: ChasquiQueueOld/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('each alert has a case in which it fires, and one in which it does not', async () => {
  const { tests } = CasesFile.Parse(load(await readFile(join(ROOT, CASES), 'utf8')));
  const cases = tests.flatMap((each) => each.alert_rule_test);
  for (const fires of [true, false]) {
    const shown = cases.flatMap(({ alertname, exp_alerts }) => (exp_alerts.length > 0 === fires ? [alertname] : []));
    assert.deepEqual([...new Set(shown)].toSorted(), names.toSorted(), fires ? 'fires' : 'keeps quiet');
  }
});

test('alerts ask only for what relay and operator measure', () => {
  const measured = new Set(
    [...declarations(), ...operatorDeclarations()].flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_count`, `${name}_sum`, `${name}_bucket`] : [name],
    ),
  );
  for (const { alert, expr } of rules) {
    const asked = [
      ...expr.matchAll(/\b(?:chasqui|workqueue|controller_runtime|leader_election|rest_client)_[\w(|)]+/g),
    ];
    const metrics = asked.flatMap(([found]) => alternatives(found));
    assert.ok(metrics.length > 0, alert);
    for (const metric of metrics) assert.ok(measured.has(metric), `${alert}: nobody measures ${metric}`);
  }
});

/** Of a regular expression as `a_(b|c)`. */
function alternatives(text: string): readonly string[] {
  const [, start = '', list] = /^(\w+)\(([\w|]+)\)/.exec(text) ?? [];
  return list === undefined ? [/^\w+/.exec(text)?.[0] ?? ''] : list.split('|').map((end) => start + end);
}

test('each alert has a runbook that says what it means, how to see it and what to do; its links lead somewhere', async () => {
  assert.deepEqual((await readdir(RUNBOOKS)).toSorted(), names.map((name) => `${name}.md`).toSorted());
  for (const name of names) {
    const path = join(RUNBOOKS, `${name}.md`);
    const text = await readFile(path, 'utf8');
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
    assert.deepEqual(headings, [name, 'What it means', 'How to see it', 'What to do']);
    for (const [, target = ''] of text.matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      await assert.doesNotReject(readFile(join(dirname(path), target)), `${name}: ${target}`);
    }
  }
});
