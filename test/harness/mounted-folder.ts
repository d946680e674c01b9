/**
 * A folder whose content changes as that of a mounted Secret or projected volume does
 * (https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter): the files are links into `..data`, which is a link
 * to a folder of one version; another version takes its place in one step, and the former one is removed.
 */
import { chmodSync, chownSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const DATA = '..data';
/** Of files, by the group that the pod has (fsGroup). */
const MODE = 0o440;

export class MountedFolder {
  readonly path: string;
  readonly #group: number | undefined;
  #version = 0;
  #names: ReadonlySet<string> = new Set();

  /** @param group owns what is mounted; only root may give files to a group of others */
  constructor(path: string, documents: ReadonlyMap<string, string>, group?: number) {
    this.path = path;
    this.#group = group;
    mkdirSync(path, { mode: 0o755 });
    this.swap(documents);
  }

  /** Puts other files in place, in the steps and the order of the kubelet. */
  swap(documents: ReadonlyMap<string, string>): void {
    this.#version += 1;
    const version = `..2026_01_01_00_00_00.${String(this.#version).padStart(9, '0')}`;
    mkdirSync(join(this.path, version), { mode: 0o755 });
    for (const [name, text] of documents) {
      const file = join(this.path, version, name);
      writeFileSync(file, text);
      if (this.#group !== undefined) chownSync(file, 0, this.#group);
      chmodSync(file, MODE);
    }
    const former = this.#version > 1 ? readlinkSync(join(this.path, DATA)) : undefined;
    symlinkSync(version, join(this.path, `${DATA}_tmp`));
    renameSync(join(this.path, `${DATA}_tmp`), join(this.path, DATA));
    for (const name of documents.keys()) {
      if (!this.#names.has(name)) symlinkSync(join(DATA, name), join(this.path, name));
    }
    for (const name of this.#names) if (!documents.has(name)) rmSync(join(this.path, name));
    this.#names = new Set(documents.keys());
    if (former !== undefined) rmSync(join(this.path, former), { recursive: true });
  }
}
