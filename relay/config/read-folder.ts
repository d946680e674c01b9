/** Reads a config folder into a config, or says why it cannot be put in force. */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { constants, open } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { Static, TSchema } from 'typebox';
import Schema from 'typebox/schema';
import type { RelayConfig } from './config.ts';
import {
  CERTIFICATES,
  type CertificateDocument,
  CertificatesDocument,
  DOMAIN_SHARDS,
  DomainDocument,
  DomainsShard,
  domainShardFile,
  FEATURES,
  FORMAT_VERSION,
  INDEX,
  IndexDocument,
  IndexHeading,
  NamedCertificateDocument,
  SETTINGS,
  SettingsDocument,
  USER_SHARDS,
  UserDocument,
  UsersShard,
  userShardFile,
} from './documents.ts';

/** A Secret holds at most 1 MiB; nothing larger was written by an operator. */
const LARGEST_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** The folder is not whole or not ours: the config in force stays. Often over in a moment, while it is being written. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** A document's name and text. */
type Documents = ReadonlyMap<string, string>;

async function readDocument(folder: string, name: string): Promise<string> {
  try {
    // Of what is no file there may be no end, and a pipe would be waited for.
    await using file = await open(join(folder, name), constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await file.stat();
    if (!found.isFile()) throw new ConfigError(`${name}: is no file`);
    const { size } = found;
    if (size > LARGEST_DOCUMENT_BYTES)
      throw new ConfigError(`${name}: ${size} bytes, more than a config document may have`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parse<Shape extends TSchema>(name: string, shape: Shape, text: string): Static<Shape> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ConfigError(`${name}: not JSON`);
  }
  return check(name, shape, value);
}

function check<Shape extends TSchema>(name: string, shape: Shape, value: unknown): Static<Shape> {
  const compiled = Schema.Compile(shape);
  if (compiled.Check(value)) return value;
  const [, problems] = compiled.Errors(value);
  const first = problems[0];
  throw new ConfigError(`${name}: ${first?.instancePath || '/'} ${first?.message ?? 'is wrong'}`);
}

/** Entries are judged one by one: a bad domain or user hurts only itself. */
function entries<Shape extends TSchema>(
  name: string,
  shape: Shape,
  values: readonly unknown[],
  rejected: string[],
): Static<Shape>[] {
  const good: Static<Shape>[] = [];
  values.forEach((value, index) => {
    try {
      good.push(check(`${name}[${index}]`, shape, value));
    } catch (error) {
      rejected.push(error instanceof Error ? error.message : String(error));
    }
  });
  return good;
}

/** Without a default nobody could be served; a named one that is bad leaves its names to the default. */
function certificatesOf(document: CertificatesDocument, rejected: string[]): RelayConfig['certificates'] {
  const problem = 'is no certificate chain with its private key, both PEM';
  if (!isUsable(document.default)) throw new ConfigError(`${CERTIFICATES}: /default ${problem}`);
  const named: NamedCertificateDocument[] = [];
  document.named?.forEach((entry, index) => {
    const name = `${CERTIFICATES}[${index}]`;
    try {
      const certificate = check(name, NamedCertificateDocument, entry);
      if (!isUsable(certificate)) throw new ConfigError(`${name}: ${problem}`);
      named.push(certificate);
    } catch (error) {
      rejected.push(error instanceof Error ? error.message : String(error));
    }
  });
  return { default: document.default, ...(named.length > 0 && { named }) };
}

/** A chain or key that TLS does not take would fail later, when the config is in force. */
function isUsable({ chain, key }: CertificateDocument): boolean {
  try {
    createSecureContext({ cert: chain, key });
    // A key of another kind is none of the certificate's, and taken all the same.
    return new X509Certificate(chain).checkPrivateKey(createPrivateKey(key));
  } catch {
    // The error may quote the key.
    return false;
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Names the version of a config. */
export const hashOf = (documents: Documents): string => sha256(documents.get(INDEX) ?? '');

/** @throws {ConfigError} also when it says that this relay would not do what the config asks for */
function readIndex(text: string): IndexDocument {
  const { formatVersion, requires = [] } = parse(INDEX, IndexHeading, text);
  if (formatVersion > FORMAT_VERSION) {
    throw new ConfigError(
      `${INDEX}: has format ${formatVersion}, and this relay reads ${FORMAT_VERSION}: it is older than its operator; upgrade the relay, or go back with the operator`,
    );
  }
  const known: readonly string[] = FEATURES;
  const unknown = requires.filter((word) => !known.includes(word));
  if (unknown.length > 0) {
    throw new ConfigError(
      `${INDEX}: requires ${unknown.map((word) => JSON.stringify(word)).join(', ')}, unknown to this relay: it is older than its operator; upgrade the relay, or take back what needs that`,
    );
  }
  return parse(INDEX, IndexDocument, text);
}

/**
 * Puts documents together.
 *
 * @throws {ConfigError} when the index, the settings or the certificates are wrong, or the index is not for this relay
 */
export function buildConfig(documents: Documents): RelayConfig {
  const text = (name: string): string => {
    const found = documents.get(name);
    if (found === undefined) throw new ConfigError(`${name}: missing`);
    return found;
  };
  const index = readIndex(text(INDEX));
  const rejected: string[] = [];
  const domains = new Map<string, DomainDocument>();
  for (let shard = 0; shard < DOMAIN_SHARDS; shard++) {
    const name = domainShardFile(shard);
    const content = documents.get(name);
    if (content === undefined) continue;
    for (const domain of entries(name, DomainDocument, parse(name, DomainsShard, content).domains, rejected)) {
      domains.set(domain.domain, domain);
    }
  }
  const users = new Map<string, UserDocument>();
  for (let shard = 0; shard < USER_SHARDS; shard++) {
    const name = userShardFile(shard);
    const content = documents.get(name);
    if (content === undefined) continue;
    for (const user of entries(name, UserDocument, parse(name, UsersShard, content).users, rejected)) {
      users.set(user.username, user);
    }
  }
  return {
    hash: hashOf(documents),
    replicas: index.replicas,
    ...(index.peers && { peers: index.peers }),
    settings: parse(SETTINGS, SettingsDocument, text(SETTINGS)),
    certificates: certificatesOf(parse(CERTIFICATES, CertificatesDocument, text(CERTIFICATES)), rejected),
    domains,
    users,
    rejected,
  };
}

/**
 * Reads the documents that the index of a folder names.
 *
 * @throws {ConfigError} when the index is not for this relay, or when one is missing or is not the one that the index
 *   means: the folder is between two versions
 */
export async function readDocuments(folder: string): Promise<Documents> {
  const indexText = await readDocument(folder, INDEX);
  const index = readIndex(indexText);
  const documents = new Map([[INDEX, indexText]]);
  for (const [name, hash] of Object.entries(index.documents)) {
    if (!/^[a-z0-9][a-z0-9.-]*\.json$/.test(name))
      throw new ConfigError(`${INDEX}: "${name}" is no name of a document`);
    const content = await readDocument(folder, name);
    if (sha256(content) !== hash) throw new ConfigError(`${name}: is not the version that ${INDEX} names`);
    documents.set(name, content);
  }
  return documents;
}
