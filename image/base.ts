/**
 * A base image made of this machine, where none can be pulled: the Node that this project pins, the libraries of the
 * system that it needs, and who is who. It has no shell and no package manager.
 */
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const FILES = {
  'etc/passwd': 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnonroot:x:65532:\n',
  // The kubelet writes /etc/hosts and /etc/resolv.conf.
  'etc/nsswitch.conf': 'hosts: files dns\n',
} as const;
/** Where certificates of public CAs are on Debian and on Red Hat. */
const CA_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

export async function baseRoot(root: string): Promise<void> {
  await copy(process.execPath, join(root, 'usr/local/bin/node'));
  for (const library of await libraries(process.execPath)) await copy(library, join(root, library));
  for (const [name, text] of Object.entries(FILES)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  for (const bundle of CA_BUNDLES) {
    if (await exists(bundle)) await copy(bundle, join(root, 'etc/ssl/certs/ca-certificates.crt'));
  }
  const tmp = join(root, 'tmp');
  await mkdir(tmp);
  await chmod(tmp, 0o1777);
}

/** Paths of the shared libraries of a program, its loader among them (ldd(1)), by their own names and not their links'. */
async function libraries(program: string): Promise<readonly string[]> {
  const { stdout } = await promisify(execFile)('ldd', [program]);
  return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].flatMap(([, path]) => path ?? []);
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  // Of a link, what it leads to: its name is what the program asks for.
  await copyFile(from, to);
  await chmod(to, (await stat(from)).mode);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
