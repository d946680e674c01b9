/** The image as it is built without a registry: what it says, and a relay in it that takes and delivers mail. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chown, cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { assemble } from '../../image/assemble.ts';
import { type Built, buildImage } from '../../image/build.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { Destination } from '../harness/destination.ts';
import { page } from '../harness/monitoring.ts';
import { writeRelayConfig } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { freePorts } from '../harness/standalone.ts';
import { Container, Image, needsContainers } from './container.ts';

const ROOT = join(import.meta.dirname, '../..');
const NONROOT = 65532;
/** Bytes; the image is told to be smaller. Node alone has 150 MB. */
const MOST = 170e6;

describe('the image', needsContainers, () => {
  const folders: string[] = [];
  let built: Built;
  let image: Image;
  before(async () => {
    const folder = await temporary();
    built = await buildImage(folder);
    image = await Image.unpack(built.archive);
  });
  after(async () => {
    await image?.[Symbol.asyncDispose]();
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
  });

  async function temporary(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'image-test-'));
    folders.push(folder);
    return folder;
  }

  /** Gives a folder and what is in it to the user of the image, as fsGroup does in a pod. */
  async function give(folder: string): Promise<void> {
    await chown(folder, NONROOT, NONROOT);
    for (const name of await readdir(folder)) await chown(join(folder, name), NONROOT, NONROOT);
  }

  test('arguments of a container are verbs', async () => {
    assert.deepEqual(await image.run(['--version']), { code: 0, output: `${packageJson.version}\n` });
    const { code, output } = await image.run(['relay', '--help']);
    assert.equal(code, 0);
    assert.match(output, /Usage: chasqui relay/);
  });

  test('the image is named by version and commit, and by the version alone', async () => {
    assert.match(
      built.name,
      new RegExp(`^docker\\.io/library/chasqui:${packageJson.version}-[0-9a-f]{12}(-changed)?$`),
    );
    assert.equal(built.released, `docker.io/library/chasqui:${packageJson.version}`);
    const { stdout } = await promisify(execFile)('tar', ['-xOf', built.archive, 'manifest.json']);
    const [{ RepoTags: names }] = JSON.parse(stdout);
    assert.deepEqual(names.toSorted(), [built.released, built.name]);
  });

  test('the image is no larger than told', async (t) => {
    const { size } = await stat(built.archive);
    t.diagnostic(`${(size / 1e6).toFixed(0)} MB`);
    assert.ok(size < MOST, `${size} bytes`);
  });

  test('the same sources give the same image, byte for byte', async () => {
    const again = await buildImage(await temporary());
    const { stdout } = await promisify(execFile)('sha256sum', [built.archive, again.archive]);
    const [one, other] = stdout.split('\n').map((line) => line.split(' ')[0]);
    assert.equal(one, other);
  });

  test('a relay with a read-only root, as a user without rights, takes a message and delivers it', async () => {
    await using destination = await Destination.start();
    const folder = await temporary();
    const [config, spool, runtime] = ['config', 'spool', 'run'].map((name) => join(folder, name));
    assert.ok(config && spool && runtime);
    const [port = 0, monitoring = 0] = await freePorts(2);
    await writeRelayConfig(config, { port, monitoring }, destination.port);
    for (const path of [spool, runtime]) await mkdir(path);
    for (const path of [config, spool, runtime]) await give(path);

    const words = [
      ...['relay', '--config', '/etc/chasqui/config', '--spool', '/var/lib/chasqui/spool', '--ordinal', '0'],
      ...['--admin', '/run/chasqui/admin.sock', '--listen-address', '127.0.0.1', '--monitoring', '127.0.0.1'],
    ];
    const mounts = { '/etc/chasqui/config': config, '/var/lib/chasqui': spool, '/run/chasqui': runtime };
    await using relay = await Container.start(image, words, mounts);
    await relay.wrote('"relay started"');
    assert.equal((await page(monitoring, '/readyz')).status, 200);

    const processes = `
    const { readFileSync } = require('node:fs');
    const of = (name) => readFileSync('/proc/1/' + name, 'utf8').split('\\0').filter(Boolean);
    console.log(JSON.stringify({ command: of('cmdline'), environment: of('environ'), status: of('status')[0] }));`;
    const told = JSON.parse(await relay.exec(['/usr/local/bin/node', '-e', processes]));
    assert.deepEqual(told.command.slice(1, 3), ['--max-semi-space-size=8', '--heap-growing-percent=200']);
    assert.ok(told.environment.includes('MALLOC_ARENA_MAX=2'));
    assert.match(told.status, /^Uid:\t65532\t65532\t65532\t65532$/m);
    assert.match(told.status, /^CapEff:\t0+$/m);
    await assert.rejects(
      relay.exec(['/usr/local/bin/node', '-e', "require('node:fs').writeFileSync('/opt/chasqui/x', '')"]),
      /EROFS/,
    );

    await using client = await SmtpClient.connect(port);
    await client.say('EHLO app.example.test');
    await client.say('MAIL FROM:<app@example.test>');
    await client.say('RCPT TO:<bob@example.org>');
    await client.say('DATA');
    assert.match(
      await client.say('From: app@example.test\r\nTo: bob@example.org\r\nSubject: hi\r\n\r\nFrom an image.\r\n.'),
      /^250 /,
    );
    const [message] = await destination.received(1);
    assert.equal(message?.from, 'app@example.test');
    assert.match(message?.data.toString() ?? '', /^DKIM-Signature: [\s\S]*\r\n\r\nFrom an image\.\r\n$/);

    const queue = await relay.exec(['chasqui', 'queue', '--help']);
    assert.match(queue, /Usage: chasqui queue/);
    relay.terminate();
    assert.equal(await relay.ended(), 0, relay.output);
    assert.match(relay.output, /"relay stopped"/);
  });

  test('docker build makes the same of the sources in its first stage, without anything of this folder', async () => {
    const [dockerfile, ignore] = await Promise.all(
      ['Dockerfile', '.dockerignore'].map((name) => readFile(join(ROOT, name), 'utf8')),
    );
    const [, command] = /^RUN (.*) \/image$/m.exec(dockerfile ?? '') ?? [];
    assert.ok(command, 'the first stage runs one command, whose last word is where to');
    // .dockerignore leaves out all but what it lists.
    const context = await temporary();
    for (const [, name = ''] of (ignore ?? '').matchAll(/^!(.+)$/gm)) {
      await cp(join(ROOT, name), join(context, name), {
        recursive: true,
        filter: (path) => !path.endsWith('.test.ts'),
      });
    }
    const made = join(await temporary(), 'image');
    await promisify(execFile)('sh', ['-euc', `${command} ${made}`], {
      cwd: context,
      env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}`, SOURCE_DATE_EPOCH: '0' },
    });
    const expected = join(await temporary(), 'image');
    await assemble(expected, 0);
    await promisify(execFile)('diff', ['--recursive', '--no-dereference', made, expected]);
  });
});
