/** What is wrong with a manifest, told to a person: the field as kubectl prints it, and what is allowed there. */
import type { TLocalizedValidationError } from 'typebox/error';
import type { StructuralSchema } from './structural.ts';

export interface Problem {
  /** Such as `spec.listeners[0].port`. */
  readonly field: string;
  readonly message: string;
}

/**
 * The errors of a closed schema, one problem per cause: the validator tells an unknown field twice, at the field and
 * at the object that has it.
 */
export function problemsOf(
  errors: readonly TLocalizedValidationError[],
  value: unknown,
  schema: StructuralSchema,
): readonly Problem[] {
  return errors.flatMap((error): Problem[] => {
    if (error.keyword === 'additionalProperties') return [];
    const field = fieldPath(value, error.instancePath);
    if (error.keyword === 'required') {
      return error.params.requiredProperties.map((name) => ({ field: `${field}.${name}`, message: 'is required' }));
    }
    return [{ field, message: explain(error, valueAt(value, error.instancePath), schema) }];
  });
}

function explain(error: TLocalizedValidationError, value: unknown, root: StructuralSchema): string {
  switch (error.keyword) {
    case 'boolean':
      return `unknown field${allowedFields(schemaAt(root, tokens(error.instancePath).slice(0, -1)))}`;
    case 'type':
      return `must be ${TYPE_WORDS[String(error.params.type)] ?? String(error.params.type)}${butIs(value)}`;
    case 'enum':
      return `must be one of ${list(error.params.allowedValues.map(String))}${butIs(value)}`;
    case 'pattern':
      return `${short(value)} does not fit${expectation(schemaAt(root, tokens(error.instancePath)))}`;
    case 'minimum':
      return `must be at least ${error.params.limit}${butIs(value)}`;
    case 'maximum':
      return `must be at most ${error.params.limit}${butIs(value)}`;
    case 'minLength':
      return error.params.limit === 1 ? 'must not be empty' : `must have at least ${error.params.limit} characters`;
    case 'maxLength':
      return `must have at most ${error.params.limit} characters`;
    case 'minItems':
      return error.params.limit === 1 ? 'must not be empty' : `must have at least ${error.params.limit} items`;
    case 'maxItems':
      return `must have at most ${error.params.limit} items`;
    default:
      return error.message;
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'an object',
  array: 'a list',
  string: 'a string',
  integer: 'a whole number',
  boolean: 'true or false',
};

const expectation = (schema: StructuralSchema | undefined): string => {
  const words = schema?.description?.replace(/\.$/, '');
  return `${words ? `: ${words}` : ''}${schema?.pattern ? ` (${schema.pattern})` : ''}`;
};

function allowedFields(schema: StructuralSchema | undefined): string {
  const names = Object.keys(schema?.properties ?? {});
  return names.length === 0 ? '; no field is allowed here' : `; allowed are ${list(names)}`;
}

/**
 * What JSON Schema cannot say and Kubernetes checks: the items of a set, and the keys of a list-map, are unique.
 * Paths start at the value, such as `.listeners[1]`.
 */
export function duplicateProblems(schema: StructuralSchema, value: unknown, field = ''): readonly Problem[] {
  if (Array.isArray(value)) {
    const { items } = schema;
    const inner = items ? value.flatMap((item, index) => duplicateProblems(items, item, `${field}[${index}]`)) : [];
    return [...duplicates(schema, value, field), ...inner];
  }
  if (!isObject(value)) return [];
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    duplicateProblems(property, value[name], `${field}.${name}`),
  );
}

function duplicates(schema: StructuralSchema, values: readonly unknown[], field: string): readonly Problem[] {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (!keys && schema['x-kubernetes-list-type'] !== 'set') return [];
  const seen = new Set<string>();
  return values.flatMap((value, index) => {
    const identity = keys ? keys.map((key) => (isObject(value) ? value[key] : undefined)) : [value];
    const text = JSON.stringify(identity);
    if (!seen.has(text)) {
      seen.add(text);
      return [];
    }
    const what = keys ? `another item has the same ${keys.join(' and ')}` : 'stands twice in the list';
    return [{ field: `${field}[${index}]`, message: `${what}: ${identity.map(short).join(', ')}` }];
  });
}

function schemaAt(root: StructuralSchema, path: readonly string[]): StructuralSchema | undefined {
  let schema: StructuralSchema | undefined = root;
  for (const token of path) schema = schema?.items ?? schema?.properties?.[token];
  return schema;
}

const tokens = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));

const step = (value: unknown, token: string): unknown => {
  if (Array.isArray(value)) return value[Number(token)];
  return isObject(value) && Object.hasOwn(value, token) ? value[token] : undefined;
};

/** The value that a JSON pointer (RFC 6901) points at. */
export const valueAt = (value: unknown, pointer: string): unknown => tokens(pointer).reduce(step, value);

/** A JSON pointer as kubectl writes it: `/listeners/0/port` is `.listeners[0].port`. */
export function fieldPath(value: unknown, pointer: string): string {
  let path = '';
  let current = value;
  for (const token of tokens(pointer)) {
    path += Array.isArray(current) ? `[${token}]` : `.${token}`;
    current = step(current, token);
  }
  return path;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `a, b, c`. */
export const list = (words: readonly string[]): string => words.join(', ');

/** `, not VALUE`; nothing for an absent value. */
export const butIs = (value: unknown): string => (value === undefined ? '' : `, not ${short(value)}`);

/** A value as it may stand in a message: one line, bounded. */
export function short(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
