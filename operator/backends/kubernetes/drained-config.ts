/** The config of a relay that is deleted: the last one, with no replica wanted any more, so that all of them drain. */
import { createHash } from 'node:crypto';
import Schema from 'typebox/schema';
import { INDEX, IndexDocument } from '../../../relay/config/documents.ts';
import { canonicalJson } from '../../smtprelay/canonical-json.ts';
import type { LiveObject } from './api.ts';
import { secretText } from './secret-text.ts';

const Index = Schema.Compile(IndexDocument);

export interface DrainedConfig {
  /** What the config Secret is to be patched with; undefined: it is so already. */
  readonly patch?: { readonly data: Readonly<Record<string, string>> };
  readonly configHash: string;
}

/** @returns undefined when there is no config to tell replicas by */
export function drainedConfig(secret: LiveObject | undefined): DrainedConfig | undefined {
  const text = secret && secretText(secret, INDEX);
  if (text === undefined) return undefined;
  const index: unknown = parsed(text);
  if (!Index.Check(index)) return undefined;
  if (index.replicas === 0) return { configHash: sha256(text) };
  const drained = canonicalJson({ ...index, replicas: 0 });
  return {
    patch: { data: { [INDEX]: Buffer.from(drained).toString('base64') } },
    configHash: sha256(drained),
  };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
