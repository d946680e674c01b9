/**
 * The structural form of a schema: what a CRD says, what validation checks, and what the reference is written from.
 * Only these keywords are in use; a test walks the generated CRDs for any other.
 */
import type { TSchema } from 'typebox';

export interface StructuralSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly required?: readonly string[];
  readonly items?: StructuralSchema;
  /** Of a map: what its values are. A map has no `properties`. */
  readonly additionalProperties?: StructuralSchema;
  readonly maxProperties?: number;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly 'x-kubernetes-list-type'?: 'map' | 'set' | 'atomic';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly Validation[];
}

/** A rule in CEL, as a CRD has it. */
export interface Validation {
  readonly rule: string;
  readonly messageExpression: string;
  readonly fieldPath?: string;
}

/** Keywords that Kubernetes refuses in a structural schema, or that we have no use for. */
const FOREIGN = ['anyOf', 'oneOf', 'allOf', 'not', '$ref', 'const', 'exclusiveMinimum'];

/**
 * The structural form of a TypeBox schema of ours. A field with a default is not required: Kubernetes fills it in
 * before it validates, and the published schema should not ask writers for it.
 * @throws {TypeError} when the source uses what a structural schema cannot say
 */
export function structural(schema: TSchema): StructuralSchema {
  const plain: StructuralSchema = JSON.parse(JSON.stringify(schema));
  return optionalWhereDefaulted(plain);
}

function optionalWhereDefaulted(schema: StructuralSchema): StructuralSchema {
  const open = typeof schema.additionalProperties === 'boolean' || (schema.additionalProperties && schema.properties);
  const foreign = open ? 'additionalProperties' : FOREIGN.find((keyword) => keyword in schema);
  if (foreign || typeof schema.type !== 'string') {
    throw new TypeError(`no structural schema: ${foreign ?? 'type is missing'} in ${JSON.stringify(schema)}`);
  }
  const { required, ...rest } = schema;
  const wanted = required?.filter((name) => schema.properties?.[name]?.default === undefined) ?? [];
  return {
    ...rest,
    ...(wanted.length > 0 && { required: wanted }),
    ...(schema.properties && {
      properties: Object.fromEntries(
        Object.entries(schema.properties).map(([name, property]) => [name, optionalWhereDefaulted(property)]),
      ),
    }),
    ...(schema.items && { items: optionalWhereDefaulted(schema.items) }),
  };
}

/**
 * A copy of value with all defaults filled in, as an API server does it: a null counts as absent, and an object that
 * is absent appears when it has a default. What does not fit the schema is kept for the validation to find.
 */
export function withDefaults(schema: StructuralSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items ? value.map((item) => withDefaults(items, item)) : value;
  }
  if (typeof value !== 'object' || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(value)) {
    const property = schema.properties?.[name];
    if (property && (given === null || given === undefined)) continue;
    define(result, name, property ? withDefaults(property, given) : given);
  }
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (property.default !== undefined && !Object.hasOwn(result, name)) {
      result[name] = withDefaults(property, structuredClone(property.default));
    }
  }
  return result;
}

/** A copy of value without the fields that the schema does not know, as an API server prunes them. */
export function pruned(schema: StructuralSchema, value: unknown): unknown {
  const { items, properties, additionalProperties } = schema;
  if (Array.isArray(value)) return items ? value.map((item) => pruned(items, item)) : value;
  if (typeof value !== 'object' || value === null || additionalProperties) return value;
  const result: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(value)) {
    const property = properties && Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (property) define(result, name, pruned(property, given));
  }
  return result;
}

/** Assigns as data, so that a field called `__proto__` is one more unknown field. */
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}
