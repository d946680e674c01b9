/**
 * Reads a folder of manifests as `kubectl apply -f FOLDER` does: *.yaml, *.yml and *.json, not its subfolders, several
 * documents in a file, Lists. Names that begin with a dot are left out: they are the locks and drafts of editors, and
 * the machinery of a mounted ConfigMap, whose visible names are symbolic links.
 *
 * A reading judges no object. It tells what was found where, and whether that is the whole of it: only a reading
 * without any fault may be a reason to delete something.
 */
import { createHash } from 'node:crypto';
import { constants, readdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { loadAll, Schema, YAML11_SCHEMA, YAMLException } from 'js-yaml';
import { GROUP, NAME_PATTERN } from '../../../crds/common.ts';
import { isKindName } from '../../../crds/kinds.ts';
import { isObject } from '../../../crds/problem.ts';
import type { ManifestRef } from '../../../crds/validate.ts';
import { isMissing } from './durable-file.ts';

const FILE_LIMIT_BYTES = 4 * 1024 * 1024;
const FOLDER_LIMIT_BYTES = 64 * 1024 * 1024;
const FOLDER_LIMIT_FILES = 2_000;
/** Values a document may hold once its aliases are expanded. */
const DOCUMENT_LIMIT_VALUES = 100_000;
const ALIAS_LIMIT = 1_000;

/** YAML 1.1 as kubectl's parser reads it, which leaves dates as the text they are. */
const KUBECTL_SCHEMA = new Schema(YAML11_SCHEMA.tags.filter(({ tagName }) => !tagName.endsWith(':timestamp')));

/** Something of the folder that could not be read. Nothing is deleted while there is one. */
export interface ReadFault {
  readonly file: string;
  /** Such as `line 3, column 5`. */
  readonly place?: string;
  readonly message: string;
}

/** A document that speaks of an object of ours; whether it is right is still to be judged. */
export interface FoundObject {
  readonly ref: ManifestRef;
  readonly file: string;
  readonly document: unknown;
}

export interface FileReading {
  readonly file: string;
  /** Hex SHA-256 of the bytes. */
  readonly digest: string;
  /** A file that ends elsewhere may be half written. */
  readonly endsWithNewline: boolean;
  readonly objects: readonly FoundObject[];
  /** Objects of other kinds, such as `ConfigMap default/x`: kubectl would apply them, here they are only told. */
  readonly foreign: readonly string[];
  readonly faults: readonly ReadFault[];
}

export interface FolderReading {
  readonly atMs: number;
  /** False: there is no such folder. */
  readonly present: boolean;
  readonly files: ReadonlyMap<string, FileReading>;
  /** Of the folder and of all files. */
  readonly faults: readonly ReadFault[];
}

/** `KIND/NAMESPACE/NAME`. */
export const refText = ({ kind, namespace, name }: ManifestRef): string => `${kind}/${namespace}/${name}`;

/**
 * Reads the folder. Files with the content of the former reading are not parsed again.
 * @param nowMs when the reading begins, on any clock that does not jump
 */
export async function readFolder(folder: string, nowMs: number, former?: FolderReading): Promise<FolderReading> {
  let names: readonly string[];
  try {
    names = manifestNames(folder);
  } catch (error) {
    if (isMissing(error)) return { atMs: nowMs, present: false, files: new Map(), faults: [] };
    return unread(nowMs, { file: folder, message: `cannot be read: ${text(error)}` });
  }
  if (names.length > FOLDER_LIMIT_FILES) {
    const message = `holds ${names.length} manifest files, more than ${FOLDER_LIMIT_FILES}`;
    return unread(nowMs, { file: folder, message });
  }
  const files = new Map<string, FileReading>();
  const faults: ReadFault[] = [];
  let bytes = 0;
  for (const file of names) {
    const content = await readBounded(path.join(folder, file), file);
    if (content === 'no file') continue;
    if (Buffer.isBuffer(content)) bytes += content.length;
    if (bytes > FOLDER_LIMIT_BYTES) {
      return unread(nowMs, { file: folder, message: `holds more than ${FOLDER_LIMIT_BYTES} bytes of manifests` });
    }
    const reading = Buffer.isBuffer(content) ? parsed(file, content, former?.files.get(file)) : unreadFile(content);
    files.set(file, reading);
    faults.push(...reading.faults);
  }
  return { atMs: nowMs, present: true, files, faults };
}

const unread = (atMs: number, fault: ReadFault): FolderReading => ({
  atMs,
  present: true,
  files: new Map(),
  faults: [fault],
});

const unreadFile = (fault: ReadFault): FileReading => ({
  file: fault.file,
  digest: '',
  endsWithNewline: false,
  objects: [],
  foreign: [],
  faults: [fault],
});

const manifestNames = (folder: string): readonly string[] =>
  readdirSync(folder)
    .filter((name) => !name.startsWith('.') && /\.(ya?ml|json)$/.test(name))
    .sort();

/** The content of a file; a folder or a pipe of such a name is none, and one that went meanwhile is gone. */
async function readBounded(file: string, name: string): Promise<Buffer | ReadFault | 'no file'> {
  try {
    // Opening a pipe would wait for its writer: with O_NONBLOCK it does not.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) return 'no file';
    // One byte more than allowed shows that there is more, whatever the size was a moment ago.
    const buffer = Buffer.allocUnsafe(Math.min(stat.size, FILE_LIMIT_BYTES) + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) return buffer.subarray(0, length);
      length += bytesRead;
    }
    if (stat.size > FILE_LIMIT_BYTES) return { file: name, message: `is larger than ${FILE_LIMIT_BYTES} bytes` };
    return { file: name, message: 'grew while it was read' };
  } catch (error) {
    return { file: name, message: `cannot be read: ${text(error)}` };
  }
}

function parsed(file: string, content: Buffer, former: FileReading | undefined): FileReading {
  const digest = createHash('sha256').update(content).digest('hex');
  if (former?.digest === digest) return former;
  const objects: FoundObject[] = [];
  const foreign: string[] = [];
  const faults: ReadFault[] = [];
  try {
    const documents = loadAll(content.toString('utf8'), { schema: KUBECTL_SCHEMA, maxAliases: ALIAS_LIMIT });
    documents.forEach((document, index) => {
      if (document === null || document === undefined) return;
      if (!withinLimit(document)) throw new RangeError(`document ${index + 1} holds too many values`);
      for (const item of listItems(document)) {
        const found = identify(item);
        if (found === undefined) faults.push({ file, place: `document ${index + 1}`, message: UNNAMED });
        else if (typeof found === 'string') foreign.push(found);
        else objects.push({ ref: found, file, document: item });
      }
    });
  } catch (error) {
    faults.push(syntaxFault(file, error));
  }
  return { file, digest, endsWithNewline: content.at(-1) === 0x0a, objects, foreign, faults };
}

const UNNAMED =
  'does not say which object it is: apiVersion, kind and metadata.name are needed, and the kind must be one of ours';

function syntaxFault(file: string, error: unknown): ReadFault {
  if (!(error instanceof YAMLException)) return { file, message: text(error) };
  const place = error.mark && `line ${error.mark.line + 1}, column ${error.mark.column + 1}`;
  return { file, ...(place && { place }), message: error.reason };
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Aliases are cheap to read and expand without bound when they are written out. */
function withinLimit(document: unknown): boolean {
  let left = DOCUMENT_LIMIT_VALUES;
  const pending: unknown[] = [document];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    left -= 1;
    if (left < 0) return false;
    if (typeof value !== 'object' || value === null) continue;
    const inner: unknown[] = Object.values(value);
    left -= inner.filter((item) => item === undefined).length;
    if (inner.length > left) return false;
    for (const item of inner) if (item !== undefined) pending.push(item);
  }
  return true;
}

const listItems = (document: unknown): readonly unknown[] =>
  isObject(document) &&
  typeof document.kind === 'string' &&
  document.kind.endsWith('List') &&
  Array.isArray(document.items)
    ? document.items
    : [document];

/**
 * Which object of ours a document speaks of, or the words for one that is not ours; undefined when it does not say.
 * A kind of ours under a misspelt apiVersion is still that object: told as wrong, not taken for gone.
 */
function identify(document: unknown): ManifestRef | string | undefined {
  if (!isObject(document) || typeof document.kind !== 'string' || typeof document.apiVersion !== 'string') {
    return undefined;
  }
  const { kind, apiVersion, metadata } = document;
  if (!isObject(metadata) || typeof metadata.name !== 'string') return undefined;
  const namespace = metadata.namespace ?? 'default';
  const { name } = metadata;
  if (isKindName(kind)) {
    return isName(namespace, 63) && isName(name, 253) ? { kind, namespace, name } : undefined;
  }
  if (apiVersion.split('/')[0] === GROUP) return undefined;
  return `${kind} ${typeof namespace === 'string' ? namespace : ''}/${name}`.slice(0, 200);
}

const NAME = new RegExp(NAME_PATTERN);
const isName = (value: unknown, maxLength: number): value is string =>
  typeof value === 'string' && value.length <= maxLength && NAME.test(value);
