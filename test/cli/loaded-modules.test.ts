/** What the parts of the program load: the client of Kubernetes costs 70 MB and half a second, and relays ask no API. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');

/** Tells each module on standard output, as it is resolved. */
const TELLING = `
import { registerHooks } from 'node:module';
registerHooks({ resolve(specifier, context, next) {
  const resolved = next(specifier, context);
  console.log(resolved.url);
  return resolved;
} });`;

async function loadedBy(file: string): Promise<readonly string[]> {
  const words = [`--import=data:text/javascript,${encodeURIComponent(TELLING)}`, '--input-type=module', '--eval'];
  const { stdout } = await run(
    process.execPath,
    [...words, `await import(${JSON.stringify(pathToFileURL(join(ROOT, file)).href)}); process.exit();`],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  return stdout.split('\n');
}

const ofKubernetes = (urls: readonly string[]): readonly string[] =>
  urls.filter((url) => url.includes('/node_modules/@kubernetes/') || url.includes('/backends/kubernetes/'));

for (const [part, file] of [
  ['a relay', 'relay/main.ts'],
  ['the verb relay', 'cli/verbs/relay.ts'],
  ['a standalone', 'cli/standalone.ts'],
  ['the help of the operator', 'cli/verbs/operator.ts'],
] as const) {
  test(`${part} loads no client of Kubernetes`, async () => {
    const urls = await loadedBy(file);
    assert.ok(urls.length > 20);
    assert.deepEqual(ofKubernetes(urls), []);
  });
}

test('the operator does', async () => {
  assert.ok(ofKubernetes(await loadedBy('cli/operator.ts')).some((url) => url.includes('/@kubernetes/client-node/')));
});
