/** The state folder of `chasqui standalone`, read by the other verbs. They never write to it. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { API_VERSION, NAME_PATTERN } from '../crds/common.ts';
import type { KindTypes } from '../crds/kinds.ts';
import { MailDomainSpec, MailDomainStatus } from '../crds/maildomain.ts';
import type { KindName, ObjectKey } from '../crds/resource.ts';
import { SmtpRelaySpec, SmtpRelayStatus } from '../crds/smtprelay.ts';
import { SmtpUserSpec, SmtpUserStatus } from '../crds/smtpuser.ts';
import { Failure } from './failure.ts';

/** What is wrong with a manifest whose object was never accepted. */
export interface ManifestProblem {
  readonly file: string;
  readonly object?: string;
  readonly field?: string;
  readonly message: string;
}

const Metadata = Type.Object({
  name: Type.String(),
  namespace: Type.String(),
  uid: Type.String(),
  generation: Type.Integer(),
  creationTimestamp: Type.String(),
  deletionTimestamp: Type.Optional(Type.String()),
});

const stored = (kind: KindName, spec: Type.TSchema, status: Type.TSchema) =>
  Schema.Compile(
    Type.Object({
      apiVersion: Type.Literal(API_VERSION),
      kind: Type.Literal(kind),
      metadata: Metadata,
      spec,
      status: Type.Optional(status),
    }),
  );

const STORED = {
  SmtpRelay: stored('SmtpRelay', SmtpRelaySpec, SmtpRelayStatus),
  MailDomain: stored('MailDomain', MailDomainSpec, MailDomainStatus),
  SmtpUser: stored('SmtpUser', SmtpUserSpec, SmtpUserStatus),
};

const Problems = Schema.Compile(
  Type.Array(
    Type.Object({
      file: Type.String(),
      object: Type.Optional(Type.String()),
      field: Type.Optional(Type.String()),
      message: Type.String(),
    }),
  ),
);

/** @throws {Failure} when state is not a state folder */
export async function requireStateFolder(state: string): Promise<void> {
  if ((await entries(join(state, 'objects'))) !== undefined) return;
  throw new Failure(
    `${state} is no state folder: start "chasqui standalone -f FOLDER --state ${state}", or name another by --state or CHASQUI_STATE`,
  );
}

/** The objects of a kind that were accepted, with their last status, ordered by namespace and name. */
export async function readObjects<Kind extends KindName>(
  state: string,
  kind: Kind,
): Promise<readonly KindTypes[Kind][]> {
  const folder = join(state, 'objects', kind);
  const objects: KindTypes[Kind][] = [];
  for (const namespace of (await entries(folder)) ?? []) {
    for (const file of (await entries(join(folder, namespace))) ?? []) {
      // A name that begins with a dot is a version that is being written.
      if (!file.endsWith('.json') || file.startsWith('.')) continue;
      const object = await readJson(join(folder, namespace, file));
      if (object !== undefined) objects.push(checked(kind, object, join(folder, namespace, file)));
    }
  }
  return objects;
}

function checked<Kind extends KindName>(kind: Kind, object: unknown, file: string): KindTypes[Kind] {
  if (STORED[kind].Check(object)) return object as KindTypes[Kind];
  throw new Failure(`${file} is not a ${kind} as this version stores it: was it written by another version?`);
}

export async function readProblems(state: string): Promise<readonly ManifestProblem[]> {
  const file = join(state, 'problems.json');
  const problems = (await readJson(file)) ?? [];
  if (!Problems.Check(problems)) throw new Failure(`${file} is not as this version writes it`);
  return problems;
}

export const secretFolder = (state: string, { namespace, name }: ObjectKey): string =>
  join(state, 'secrets', namespace, name);

/**
 * The keys that are asked for of a Secret that is a folder with a file for each.
 * @throws {Failure} when one is missing
 */
export async function readSecret<Key extends string>(
  folder: string,
  keys: readonly Key[],
): Promise<Readonly<Record<Key, string>>> {
  const read = async (key: Key) => {
    const content = await contentOf(join(folder, key));
    if (content === undefined) throw new Failure(`${join(folder, key)} is missing`);
    return [key, content] as const;
  };
  return Object.fromEntries(await Promise.all(keys.map(read))) as Record<Key, string>;
}

/** Names of the sockets under DIR/run, one for each replica: NAMESPACE.NAME-ORDINAL. */
export interface ReplicaSocket extends ObjectKey {
  readonly ordinal: number;
  readonly path: string;
}

const LABEL = NAME_PATTERN.slice(1, -1);
const SOCKET = new RegExp(`^(?<namespace>${LABEL})\\.(?<name>${LABEL})-(?<ordinal>[0-9]{1,4})\\.sock$`);

export async function replicaSockets(state: string): Promise<readonly ReplicaSocket[]> {
  const folder = join(state, 'run');
  return ((await entries(folder)) ?? [])
    .flatMap((file) => {
      const { namespace = '', name = '', ordinal } = SOCKET.exec(file)?.groups ?? {};
      return ordinal === undefined ? [] : [{ namespace, name, ordinal: Number(ordinal), path: join(folder, file) }];
    })
    .sort((a, b) => compare(a.namespace, b.namespace) || compare(a.name, b.name) || a.ordinal - b.ordinal);
}

const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/**
 * Process id of the standalone that holds the folder.
 *
 * The id that is written there proves nothing, so the lock is asked: by a shared lock, and only where that process is
 * alive, so that no standalone that is just starting finds the folder locked by a question.
 */
export async function holderOf(state: string): Promise<number | undefined> {
  const pid = Number((await contentOf(join(state, 'lock.pid')))?.trim());
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  return isLocked(join(state, 'lock')) ? pid : undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and another user's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function isLocked(file: string): boolean {
  try {
    using database = new DatabaseSync(file, { readOnly: true, timeout: 0 });
    database.exec('SELECT count(*) FROM sqlite_schema');
    return false;
  } catch (error) {
    return error instanceof Error && /locked/.test(error.message);
  }
}

async function readJson(file: string): Promise<unknown> {
  const text = await contentOf(file);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure(`${file} is no JSON`);
  }
}

/** undefined when there is no such file: between a listing and a read it may be gone. */
const contentOf = (file: string): Promise<string | undefined> => unlessMissing(readFile(file, 'utf8'));

const entries = async (folder: string): Promise<string[] | undefined> => (await unlessMissing(readdir(folder)))?.sort();

async function unlessMissing<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (error instanceof Error && (code === 'EACCES' || code === 'EPERM')) {
      throw new Failure(`${error.message}: run this as the user who runs the standalone`);
    }
    throw error;
  }
}
