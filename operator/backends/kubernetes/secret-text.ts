/** What a Secret holds under a key. */
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { LiveObject } from './api.ts';

const Data = Schema.Compile(
  Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } }),
);

export function secretText(secret: LiveObject, key: string): string | undefined {
  const { data } = secret;
  const value = Data.Check(data) ? data[key] : undefined;
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}
