import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { Writable } from 'node:stream';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { linesByTurn } from './lines.ts';

function written(): { readonly writes: string[]; readonly out: Writable } {
  const writes: string[] = [];
  const out = new Writable({
    write(chunk, _encoding, done) {
      writes.push(String(chunk));
      done();
    },
  });
  return { writes, out };
}

test('lines of one turn leave in one write, in their order', async () => {
  const { writes, out } = written();
  const lines = linesByTurn(out);
  lines.write('a\n');
  lines.write('b\n');
  assert.deepEqual(writes, []);
  await turn();
  lines.write('c\n');
  await turn();
  assert.deepEqual(writes, ['a\nb\n', 'c\n']);
});

test('many lines do not wait for the end of the turn', () => {
  const { writes, out } = written();
  const lines = linesByTurn(out);
  const line = `${'x'.repeat(999)}\n`;
  for (let i = 0; i < 100; i += 1) lines.write(line);
  assert.ok(writes.join('').length > 60_000);
});

test('what was said last is out when the process exits', () => {
  const script = `const { linesByTurn } = await import(${JSON.stringify(import.meta.resolve('./lines.ts'))});
    linesByTurn(process.stdout).write('the end\\n');
    process.exit(70);`;
  const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.deepEqual([stdout, status], ['the end\n', 70]);
});
