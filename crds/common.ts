/**
 * The vocabulary that all kinds share: names, durations, sizes, networks, conditions.
 *
 * A field with a default is written here as required: manifests may leave it out (`structural.ts` says so to
 * Kubernetes and to the validation), and an accepted object always has it. So the static types are those of accepted
 * objects, and only a field that may really be absent there is `Type.Optional`. Objects carry a default too, since
 * Kubernetes fills in the defaults of an object's fields only where the object itself is there.
 */
import Type from 'typebox';

export const GROUP = 'chasqui.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** RFC 1123 label, as Kubernetes names most objects. */
export const NAME_PATTERN = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$';

export const objectName = (description: string, maxLength = 63) =>
  Type.String({ description, minLength: 1, maxLength, pattern: NAME_PATTERN });

/** A Secret of a user's own, by name. */
export const secretName = (description: string) =>
  Type.String({ description, minLength: 1, maxLength: 253, pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$' });

export const DURATION_PATTERN = '^([0-9]{1,5}(h|m|s|ms)){1,4}$';

/** A duration by GEP-2257: `90s`, `1h30m`; no days, no fractions. */
export const duration = (description: string, fallback?: string) =>
  Type.String({
    description: `${description} A duration such as 90s, 5m or 1h30m.`,
    maxLength: 32,
    pattern: DURATION_PATTERN,
    ...(fallback === undefined ? {} : { default: fallback }),
  });

export const QUANTITY_PATTERN = '^[0-9]{1,12}(Ki|Mi|Gi|Ti|k|M|G|T)?$';

/** A Kubernetes Quantity of bytes. */
export const quantity = (description: string, fallback: string) =>
  Type.String({
    description: `${description} A quantity of bytes such as 50Mi or 1Gi.`,
    maxLength: 20,
    pattern: QUANTITY_PATTERN,
    default: fallback,
  });

/** A domain name in ASCII, labels of letters, digits and hyphens, at least two of them. */
export const DOMAIN_PATTERN =
  '^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\\.)+[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$';

export const domainName = (description: string) =>
  Type.String({ description, minLength: 3, maxLength: 253, pattern: DOMAIN_PATTERN });

export const port = (description: string, fallback?: number) =>
  Type.Integer({
    description,
    minimum: 1,
    maximum: 65535,
    ...(fallback === undefined ? {} : { default: fallback }),
  });

export const network = Type.String({
  description: 'A network in CIDR notation, such as 10.0.0.0/8 or fd00::/8.',
  maxLength: 43,
  pattern: '^[0-9a-fA-F:.]+/[0-9]{1,3}$',
});

/** One of our own words, in PascalCase. A string enum, since a structural schema allows no bare one. */
export const oneOf = <Value extends string>(
  values: Value[],
  options: { description: string; default?: NoInfer<Value> },
) => Type.Enum<Value[]>(values, { type: 'string', ...options });

/** metav1.Condition, field for field. */
export const Condition = Type.Object(
  {
    type: Type.String({ description: 'What is judged, in CamelCase.', maxLength: 316 }),
    status: oneOf(['True', 'False', 'Unknown'], { description: 'Whether it holds.' }),
    reason: Type.String({ description: 'Why, in one CamelCase word.', minLength: 1, maxLength: 1024 }),
    message: Type.String({ description: 'Why, for a person, and what to do about it.', maxLength: 32768 }),
    observedGeneration: Type.Integer({ description: 'The generation of the object that was judged.', minimum: 0 }),
    lastTransitionTime: Type.String({ description: 'When the status last changed.', format: 'date-time' }),
  },
  { description: 'One judgement about the object.' },
);
export type Condition = Type.Static<typeof Condition>;

export const conditions = Type.Array(Condition, {
  description: 'What holds of this object, one entry per type.',
  maxItems: 16,
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
});

export const observedGeneration = Type.Integer({
  description: 'The generation of the spec that this status speaks of.',
  minimum: 0,
});

/** An object that may be left out: each of its fields has a default or may be absent. */
export const section = <Properties extends Type.TProperties>(description: string, properties: Properties) =>
  Type.Object(properties, { description, default: {} });

/** Options of a list whose items are named: a list-map by that name. */
export const namedList = (description: string, maxItems: number, key = 'name') => ({
  description,
  maxItems,
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': [key],
});

type ValueLimits = { readonly maxLength: number; readonly pattern?: string };

const map = (description: string, maxProperties: number, values: ValueLimits = { maxLength: 63 }) => ({
  type: 'object',
  description,
  maxProperties,
  additionalProperties: { type: 'string', description: 'Its value.', ...values },
});

/** A map with names for keys, such as labels, that may be empty. */
export const stringMap = (description: string, maxProperties: number, values?: ValueLimits) =>
  Type.Unsafe<Record<string, string>>({ ...map(description, maxProperties, values), default: {} });

/** A map that may be absent. */
export const optionalMap = (description: string, maxProperties: number, values?: ValueLimits) =>
  Type.Optional(Type.Unsafe<Record<string, string>>(map(description, maxProperties, values)));
