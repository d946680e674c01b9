/**
 * Secrets as files: DIR/secrets/NAMESPACE/NAME/KEY, folders 0700, files 0600. A folder is ours when `.metadata.json` in
 * it says so; any other is another's and is never written.
 *
 * A new Secret is made beside its place and renamed into it, so half a Secret is never seen. A Secret that is replaced
 * is first written as a whole to `.next-NAME` and made durable; from then on it is in force, and its files are moved in
 * one by one, the metadata last. A crash on the way is mended at the next start, so certificate and key always belong
 * together, and a reader of one file never sees half of it.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, type FSWatcher, readdirSync, renameSync, rmSync, statSync, watch } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { NAME_PATTERN } from '../../../crds/common.ts';
import { KINDS } from '../../../crds/kinds.ts';
import type { KindName } from '../../../crds/resource.ts';
import {
  type Reference,
  type Secret,
  SecretConflict,
  type SecretHolder,
  type SecretOwner,
  type Secrets,
} from '../../backend.ts';
import { isMissing, makeFolder, readIfThere, readJson, syncFolder, writeSynced } from './durable-file.ts';

const METADATA = '.metadata.json';
/** A Secret that is being made, or is on its way out: nothing of it is in force. */
const DRAFT = '.draft-';
/** A whole Secret that is in force and not yet moved into its place. */
const NEXT = '.next-';
const SECRET_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const NAMESPACE = new RegExp(NAME_PATTERN);
/** As Kubernetes has it, but for names that begin with a dot. */
const KEY = /^[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,252}$/;

const Strings = Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } });

const Metadata = Schema.Compile(
  Type.Object({
    owner: Type.Object({
      kind: Type.Enum(KINDS.map(({ kind }) => kind) as [KindName, ...KindName[]]),
      name: Type.String(),
      uid: Type.String(),
    }),
    purpose: Type.String(),
    annotations: Strings,
    keys: Type.Array(Type.String({ pattern: KEY.source })),
  }),
);
type Metadata = Pick<Secret, 'owner' | 'purpose' | 'annotations'> & { readonly keys: readonly string[] };

export class SecretFiles implements Secrets {
  readonly #root: string;
  readonly #watchers: FSWatcher[] = [];

  /** @param root DIR/secrets; what a crash left unfinished there is finished or removed. */
  constructor(root: string) {
    this.#root = root;
    makeFolder(root);
    for (const namespace of namespacesIn(root)) recover(path.join(root, namespace));
  }

  async get(namespace: string, name: string): Promise<Secret | undefined> {
    return this.#read(namespace, name);
  }

  async ownedBy(namespace: string, owner: Pick<SecretOwner, 'kind' | 'name'>): Promise<readonly Secret[]> {
    return namesIn(this.#namespaceFolder(namespace)).flatMap((name) => {
      const secret = this.#read(namespace, name);
      return secret && isOwner(secret.owner, owner) ? [secret] : [];
    });
  }

  /** A folder that is not ours: whoever made it keeps others from reading it. */
  async reference(namespace: string, name: string): Promise<Reference> {
    const folder = this.#folderOf(namespace, name);
    const place = path.relative(path.dirname(this.#root), folder);
    if (readMetadata(folder)) return { problem: `${place} is one of ours: refer to a folder of your own.` };
    const files = filesIn(folder);
    if (files.length === 0)
      return { problem: `There is no folder ${place} with a file for each key: make it, with mode 0700.` };
    const open = files.find((file) => (statSync(path.join(folder, file)).mode & 0o077) !== 0);
    if (open !== undefined) return { problem: `${place}/${open} can be read by others: chmod 0600.` };
    return {
      data: Object.fromEntries(files.map((file) => [file, readIfThere(path.join(folder, file)) ?? ''])),
    };
  }

  async owners(): Promise<readonly SecretHolder[]> {
    const holders = new Map<string, SecretHolder>();
    for (const namespace of namespacesIn(this.#root)) {
      for (const name of namesIn(path.join(this.#root, namespace))) {
        const owner = readMetadata(path.join(this.#root, namespace, name))?.owner;
        if (!owner) continue;
        const holder = { kind: owner.kind, key: { namespace, name: owner.name } };
        holders.set(`${owner.kind}/${namespace}/${owner.name}`, holder);
      }
    }
    return [...holders.values()];
  }

  async create(secret: Secret): Promise<void> {
    const folder = this.#folderOf(secret.namespace, secret.name);
    if (existsSync(folder)) throw conflict(secret, 'is there already');
    makeFolder(path.dirname(folder));
    const draft = writeDraft(path.dirname(folder), secret);
    // One process holds DIR, and nothing of it runs since the check: only a foreign hand could have come between, and
    // rename refuses a folder that holds anything.
    renameSync(draft, folder);
    syncFolder(path.dirname(folder));
  }

  async apply(secret: Secret): Promise<void> {
    const folder = this.#folderOf(secret.namespace, secret.name);
    if (!existsSync(folder)) {
      await this.create(secret);
      return;
    }
    const before = this.#read(secret.namespace, secret.name);
    if (!before || !isOwner(before.owner, secret.owner)) throw conflict(secret, 'belongs to someone else');
    if (isDeepStrictEqual(before, secret)) return;
    const parent = path.dirname(folder);
    const next = path.join(parent, `${NEXT}${secret.name}`);
    renameSync(writeDraft(parent, secret), next);
    syncFolder(parent);
    install(next, folder);
  }

  async delete(namespace: string, name: string): Promise<void> {
    const folder = this.#folderOf(namespace, name);
    if (!existsSync(folder)) return;
    if (!readMetadata(folder)) throw conflict({ namespace, name }, 'belongs to someone else');
    const parent = path.dirname(folder);
    const draft = path.join(parent, `${DRAFT}${randomUUID()}`);
    renameSync(folder, draft);
    syncFolder(parent);
    rmSync(draft, { recursive: true, force: true });
  }

  /** Tells of Secrets that a foreign hand changes, too. */
  watch(listener: (namespace: string, name: string) => void): void {
    const watcher = watch(this.#root, { recursive: true, persistent: false });
    watcher.on('change', (_, file) => {
      const [namespace, name] = String(file).split(path.sep);
      if (namespace !== undefined && name !== undefined && SECRET_NAME.test(name)) listener(namespace, name);
    });
    // Without it our own changes are still told by those who make them.
    watcher.on('error', () => watcher.close());
    this.#watchers.push(watcher);
  }

  /** Ends the watching. */
  close(): void {
    for (const watcher of this.#watchers) watcher.close();
  }

  #read(namespace: string, name: string): Secret | undefined {
    const folder = this.#folderOf(namespace, name);
    const metadata = readMetadata(folder);
    if (!metadata) return undefined;
    const { owner, purpose, annotations, keys } = metadata;
    const data = Object.fromEntries(
      keys.flatMap((key) => {
        const content = readIfThere(path.join(folder, key));
        return content === undefined ? [] : [[key, content] as const];
      }),
    );
    return { namespace, name, owner, purpose, data, annotations };
  }

  #namespaceFolder(namespace: string): string {
    if (!NAMESPACE.test(namespace) || namespace.length > 63) throw new RangeError(`not a namespace: ${namespace}`);
    return path.join(this.#root, namespace);
  }

  #folderOf(namespace: string, name: string): string {
    if (!SECRET_NAME.test(name)) throw new RangeError(`not the name of a Secret: ${name}`);
    return path.join(this.#namespaceFolder(namespace), name);
  }
}

/** An object of the same name made anew takes over what its predecessor left. */
const isOwner = (owner: SecretOwner, wanted: Pick<SecretOwner, 'kind' | 'name'>): boolean =>
  owner.kind === wanted.kind && owner.name === wanted.name;

const conflict = ({ namespace, name }: Pick<Secret, 'namespace' | 'name'>, why: string): SecretConflict =>
  new SecretConflict(`Secret ${namespace}/${name} ${why}`);

/** Writes a whole Secret to a folder that nobody looks at, durable but for the entry of the folder itself. */
function writeDraft(parent: string, { owner, purpose, annotations, data }: Secret): string {
  const keys = Object.keys(data);
  const wrong = keys.find((key) => !KEY.test(key));
  if (wrong !== undefined) throw new RangeError(`not a key of a Secret: ${wrong}`);
  const draft = path.join(parent, `${DRAFT}${randomUUID()}`);
  makeFolder(draft);
  for (const [key, value] of Object.entries(data)) writeSynced(path.join(draft, key), value);
  const metadata: Metadata = { owner, purpose, annotations, keys };
  writeSynced(path.join(draft, METADATA), `${JSON.stringify(metadata, undefined, 2)}\n`);
  syncFolder(draft);
  return draft;
}

/** Moves a whole Secret into its place. Can be repeated from any point where it was interrupted. */
function install(next: string, folder: string): void {
  const wanted = readMetadata(next);
  if (wanted) {
    for (const key of wanted.keys) {
      if (existsSync(path.join(next, key))) renameSync(path.join(next, key), path.join(folder, key));
    }
    for (const key of readMetadata(folder)?.keys ?? []) {
      if (!wanted.keys.includes(key)) rmSync(path.join(folder, key), { force: true });
    }
    syncFolder(folder);
    renameSync(path.join(next, METADATA), path.join(folder, METADATA));
    syncFolder(folder);
  }
  rmSync(next, { recursive: true, force: true });
}

function recover(namespaceFolder: string): void {
  for (const entry of readdirSync(namespaceFolder)) {
    const left = path.join(namespaceFolder, entry);
    if (entry.startsWith(DRAFT)) rmSync(left, { recursive: true, force: true });
    if (entry.startsWith(NEXT)) {
      const folder = path.join(namespaceFolder, entry.slice(NEXT.length));
      // Someone took the Secret away meanwhile: what was to replace it is still in force.
      if (existsSync(folder)) install(left, folder);
      else renameSync(left, folder);
    }
  }
}

const namespacesIn = (root: string): readonly string[] =>
  readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && NAMESPACE.test(entry.name))
    .map(({ name }) => name);

/** Names of the files in a folder that can be keys of a Secret. */
function filesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && KEY.test(entry.name))
      .map(({ name }) => name);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => SECRET_NAME.test(name));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** undefined where there is none, or one that we did not write: the folder is another's then. */
function readMetadata(folder: string): Metadata | undefined {
  const metadata = readJson(path.join(folder, METADATA));
  return Metadata.Check(metadata) ? metadata : undefined;
}
