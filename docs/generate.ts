/**
 * Writes `configuration.md`, the reference of every field, from the schemas, and `metrics.md` from what a relay declares:
 * `npm run generate`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { API_VERSION, DOMAIN_PATTERN, DURATION_PATTERN, NAME_PATTERN, QUANTITY_PATTERN } from '../crds/common.ts';
import { KINDS } from '../crds/kinds.ts';
import type { KindDefinition } from '../crds/resource.ts';
import { type StructuralSchema, structural } from '../crds/structural.ts';
import { metricsReference } from './metrics.ts';

interface Field {
  /** Such as `listeners[].port`. */
  readonly path: string;
  readonly schema: StructuralSchema;
  readonly required: boolean;
}

const INTRODUCTION = `# Configuration

<!-- Generated from crds/*.ts by "npm run generate". Do not edit. -->

Chasqui is configured by manifests of three kinds, all of \`apiVersion: ${API_VERSION}\`. On Kubernetes they are applied
as custom resources; on one machine \`chasqui standalone -f FOLDER\` reads them from the files of a folder, several to a
file where they are separated by \`---\`. A namespace that is left out is \`default\` there.

- A field that is not listed here is refused, and the last good version of the object stays in force.
- A field with a default may be left out, and so may an object all of whose fields have one.
- \`list[]\` stands for each item of a list. A list by a key takes no two items of the same key.
- A name is made of lower-case letters, digits and hyphens, and begins and ends with a letter or digit.
- A duration is a sum of hours, minutes, seconds and milliseconds: \`90s\`, \`1h30m\`, \`250ms\`. There are no days.
- A quantity is a number of bytes with an optional unit: \`Ki\`, \`Mi\`, \`Gi\`, \`Ti\` (powers of 1024), \`k\`, \`M\`, \`G\`, \`T\`.
`;

/** The reference as one Markdown page. */
export const reference = (): string => [INTRODUCTION, ...KINDS.map(kindSection)].join('\n');

function kindSection(definition: KindDefinition): string {
  const { kind, plural, shortNames, description, maxNameLength, immutable } = definition;
  const fixed = immutable.map((pointer) => `\`spec${pointer.replaceAll('/', '.')}\``);
  return `## ${kind}

${description} \`kubectl get ${plural}\` (short: \`${shortNames.join('`, `')}\`).

\`metadata.name\` is a name of at most ${maxNameLength} characters.${
    fixed.length > 0 ? ` Cannot change once the object exists: ${fixed.join(', ')}.` : ''
  }

### ${kind} spec

${specTable(structural(definition.spec))}

### ${kind} status

What the operator writes; \`chasqui status\` shows it.

${statusTable(structural(definition.status))}
`;
}

const specTable = (schema: StructuralSchema): string =>
  table(
    ['Field', 'Type', 'Default', 'Limits', 'Description'],
    fieldsOf(schema).map(({ path, schema: field, required }) => [
      code(path),
      typeOf(field),
      required ? 'required' : defaultOf(field),
      limitsOf(field),
      descriptionOf(field),
    ]),
  );

const statusTable = (schema: StructuralSchema): string =>
  table(
    ['Field', 'Type', 'Description'],
    fieldsOf(schema).map(({ path, schema: field }) => [code(path), typeOf(field), descriptionOf(field)]),
  );

/** Fields in the order of the source, each object before its fields. */
function fieldsOf(schema: StructuralSchema, prefix = ''): readonly Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const inner = field.items ? fieldsOf(field.items, `${path}[].`) : fieldsOf(field, `${path}.`);
    return [{ path, schema: field, required: schema.required?.includes(name) ?? false }, ...inner];
  });
}

/** Patterns that have a name; the introduction explains them. */
const FORMATS: Readonly<Record<string, string>> = {
  [NAME_PATTERN]: 'name',
  [DOMAIN_PATTERN]: 'domain name',
  [DURATION_PATTERN]: 'duration',
  [QUANTITY_PATTERN]: 'quantity',
};

const formatOf = ({ pattern, type }: StructuralSchema): string => FORMATS[pattern ?? ''] ?? type;

function typeOf(schema: StructuralSchema): string {
  if (schema.additionalProperties) return `map of ${formatOf(schema.additionalProperties)}s`;
  if (!schema.items) return formatOf(schema);
  const keys = schema['x-kubernetes-list-map-keys'];
  return `list of ${formatOf(schema.items)}s${keys ? ` by ${keys.join(', ')}` : ''}`;
}

function defaultOf(schema: StructuralSchema): string {
  if (schema.default === undefined || JSON.stringify(schema.default) === '{}') return '';
  return code(typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default));
}

function limitsOf(schema: StructuralSchema): string {
  const { items, additionalProperties: values } = schema;
  if (values) {
    const each = scalarLimits(values).map((limit) => `each: ${limit}`);
    return [range(undefined, schema.maxProperties, 'entries'), ...each].join('; ');
  }
  if (!items) return scalarLimits(schema).join('; ');
  return [
    range(schema.minItems, schema.maxItems, 'items'),
    schema['x-kubernetes-list-type'] === 'set' ? 'no item twice' : '',
    ...(items.properties ? [] : scalarLimits(items).map((limit) => `each: ${limit}`)),
  ]
    .filter(Boolean)
    .join('; ');
}

function scalarLimits(schema: StructuralSchema): readonly string[] {
  if (schema.enum) return [schema.enum.map(code).join(', ')];
  const { pattern = '' } = schema;
  return [
    range(schema.minimum, schema.maximum, ''),
    range(schema.minLength, schema.maxLength, 'characters'),
    pattern && !FORMATS[pattern] ? code(pattern) : '',
  ].filter(Boolean);
}

function range(least: number | undefined, most: number | undefined, unit: string): string {
  if (most === undefined) return least === undefined ? '' : `at least ${least} ${unit}`.trim();
  return (least === undefined ? `at most ${most} ${unit}` : `${least} to ${most} ${unit}`).trim();
}

/** Of a list of plain values the item says what a value is. */
const descriptionOf = ({ description = '', items }: StructuralSchema): string =>
  items?.description && !items.properties ? `${description} ${items.description}` : description;

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map(cell).join(' | ')} |`).join('\n');

const cell = (text: string): string => text.replaceAll('|', '\\|');
const code = (text: string): string => `\`${text}\``;

if (import.meta.main) {
  await writeFile(join(import.meta.dirname, 'configuration.md'), reference());
  await writeFile(join(import.meta.dirname, 'metrics.md'), metricsReference());
}
