/**
 * Writes the config folder that all replicas of a relay share: DIR/config/NAMESPACE/NAME. Documents come first and the
 * index that names their hashes last; until then a replica finds hashes that do not match and keeps what it has.
 */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import Type from 'typebox';
import Schema from 'typebox/schema';
import {
  CERTIFICATES,
  INDEX,
  IndexDocument,
  isDomainShard,
  SETTINGS,
  SettingsDocument,
} from '../../../relay/config/documents.ts';
import type { GroupListener } from '../../backend.ts';
import { makeFolder, readIfThere, readJson, replaceFile, syncFolder } from './durable-file.ts';

const DOCUMENT_NAME = /^[a-z0-9][-a-z0-9]*\.json$/;

/**
 * Brings the folder to the documents and returns whether that changed anything. A crash on the way leaves a folder that
 * no replica takes, and the next call finishes it.
 */
export function writeConfig(folder: string, documents: ReadonlyMap<string, string>): boolean {
  makeFolder(folder);
  const wrong = [...documents.keys()].find((name) => !DOCUMENT_NAME.test(name));
  if (wrong !== undefined) throw new RangeError(`not the name of a config document: ${wrong}`);
  const index = documents.get(INDEX);
  if (index === undefined) throw new RangeError(`a config folder needs ${INDEX}`);

  const others = [...documents].filter(
    ([name, content]) => name !== INDEX && content !== readIfThere(path.join(folder, name)),
  );
  for (const [name, content] of others) replaceFile(path.join(folder, name), content);
  // The index must not be on disk before what it names.
  if (others.length > 0) syncFolder(folder);
  const newIndex = index !== readIfThere(path.join(folder, INDEX));
  if (newIndex) replaceFile(path.join(folder, INDEX), index);

  const stale = readdirSync(folder).filter((name) => !documents.has(name));
  for (const name of stale) rmSync(path.join(folder, name), { recursive: true });
  if (newIndex || stale.length > 0) syncFolder(folder);
  return others.length > 0 || newIndex || stale.length > 0;
}

const Index = Schema.Compile(IndexDocument);
const Settings = Schema.Compile(Type.Object({ listeners: SettingsDocument.properties.listeners }));

/** What running replicas needs of a config. */
export interface ConfigFacts {
  readonly listeners: readonly GroupListener[];
}

/** What the config folder of a former process says; undefined where there is none that is whole. */
export function readConfig(folder: string): ConfigFacts | undefined {
  const settings = readJson(path.join(folder, SETTINGS));
  if (!Settings.Check(settings)) return undefined;
  const listeners = settings.listeners.map(({ name, port, protocol }) => ({ name, port, protocol }));
  return { listeners };
}

/** Index and shards of domains, as far as they belong together; empty where there is no config. */
export function readApplied(folder: string): ReadonlyMap<string, string> {
  const text = readIfThere(path.join(folder, INDEX));
  const index: unknown = text === undefined ? undefined : readJson(path.join(folder, INDEX));
  if (text === undefined || !Index.Check(index)) return new Map();
  const shards = Object.keys(index.documents).flatMap((name) => {
    const shard = isDomainShard(name) || name === CERTIFICATES ? readIfThere(path.join(folder, name)) : undefined;
    return shard === undefined ? [] : [[name, shard] as const];
  });
  return new Map([[INDEX, text], ...shards]);
}

/** Tells all replicas, by the index, that none of them is wanted any more: they drain. */
export function drainAll(folder: string): void {
  const index = readJson(path.join(folder, INDEX));
  if (!Index.Check(index) || index.replicas === 0) return;
  replaceFile(path.join(folder, INDEX), `${JSON.stringify({ ...index, replicas: 0 })}\n`);
  syncFolder(folder);
}

/** Removes the folder with the private keys in it. */
export function removeConfig(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
