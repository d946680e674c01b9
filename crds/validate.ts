/** Judges a manifest as an API server would: what is refused here, `kubectl apply` refuses too. */
import Type from 'typebox';
import Schema from 'typebox/schema';
import { API_VERSION, NAME_PATTERN } from './common.ts';
import { KINDS, type KindTypes, kindNamed } from './kinds.ts';
import {
  butIs,
  duplicateProblems,
  fieldPath,
  isObject,
  list,
  type Problem,
  problemsOf,
  short,
  valueAt,
} from './problem.ts';
import type { KindDefinition, KindName } from './resource.ts';
import { ruleProblems } from './rules.ts';
import { pruned, type StructuralSchema, structural, withDefaults } from './structural.ts';

export type { Problem } from './problem.ts';

export interface ManifestMeta {
  readonly name: string;
  readonly namespace: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ManifestOf<Kind extends KindName> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: Kind;
  readonly metadata: ManifestMeta;
  /** With all defaults filled in. */
  readonly spec: KindTypes[Kind]['spec'];
}

/** A manifest that was accepted. */
export type Manifest = { [Kind in KindName]: ManifestOf<Kind> }[KindName];

/** Which object a manifest speaks of. */
export interface ManifestRef {
  readonly kind: KindName;
  readonly namespace: string;
  readonly name: string;
}

export interface Judgement {
  /** Present when that much of the manifest could be read. */
  readonly ref?: ManifestRef;
  /** Present when there is no problem. */
  readonly object?: Manifest;
  /** The first ones, when there are many. */
  readonly problems: readonly Problem[];
}

const Strings = Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } });

/** Kubernetes has more metadata than this, and adds to it: the rest is not ours to judge. */
const Metadata = Schema.Compile(
  Type.Object({
    name: Type.String({ minLength: 1, maxLength: 253 }),
    namespace: Type.Optional(Type.String({ maxLength: 63, pattern: NAME_PATTERN })),
    labels: Type.Optional(Strings),
    annotations: Type.Optional(Strings),
  }),
);

const SPECS = new Map(
  KINDS.map((definition) => {
    const schema = structural(definition.spec);
    return [definition.kind, { schema, closed: Schema.Compile(closed(schema)) }];
  }),
);

/** Judges one document of a manifest file. A namespace that is left out is `default`. */
export function validateManifest(document: unknown): Judgement {
  if (!isObject(document)) return { problems: [{ field: '', message: 'must be an object with apiVersion and kind' }] };
  if (document.apiVersion !== API_VERSION) {
    return { problems: [{ field: 'apiVersion', message: `must be ${API_VERSION}${butIs(document.apiVersion)}` }] };
  }
  const definition = typeof document.kind === 'string' ? kindNamed(document.kind) : undefined;
  if (!definition) {
    const kinds = list(KINDS.map(({ kind }) => kind));
    return { problems: [{ field: 'kind', message: `must be one of ${kinds}${butIs(document.kind)}` }] };
  }

  const { metadata, problems: metadataProblems } = judgeMetadata(definition, document.metadata);
  const { spec, problems: specProblems } = judgeSpec(definition.kind, document.spec);
  const problems = [...unknownFields(document), ...metadataProblems, ...specProblems];
  if (!metadata) return { problems };
  const ref = { kind: definition.kind, namespace: metadata.namespace, name: metadata.name };
  if (problems.length > 0) return { ref, problems };
  return { ref, object: accepted(definition.kind, metadata, spec), problems };
}

/** Fields of the spec that cannot change once an object exists, and that differ between two accepted specs. */
export function immutabilityProblems(kind: KindName, before: unknown, after: unknown): readonly Problem[] {
  return (kindNamed(kind)?.immutable ?? [])
    .filter((pointer) => JSON.stringify(valueAt(before, pointer)) !== JSON.stringify(valueAt(after, pointer)))
    .map((pointer) => ({
      field: `spec${fieldPath(after, pointer)}`,
      message: `cannot change from ${short(valueAt(before, pointer))}: delete the ${kind} and make another one`,
    }));
}

/**
 * The spec of a kind with all defaults filled in; for specs that our own code writes.
 * @throws {TypeError} that tells the problems
 */
export function completeSpec<Kind extends KindName>(kind: Kind, given: unknown): KindTypes[Kind]['spec'] {
  const { spec, problems } = judgeSpec(kind, given);
  if (problems.length > 0) throw new TypeError(problems.map(({ field, message }) => `${field}: ${message}`).join('; '));
  return spec as KindTypes[Kind]['spec'];
}

/**
 * Judges the spec of an object that an API server has taken: by a CRD older or newer than this program, it may be. What
 * a newer one has and we do not know is left out.
 */
export function judgeStored<Kind extends KindName>(
  kind: Kind,
  given: unknown,
): { readonly spec?: KindTypes[Kind]['spec']; readonly problems: readonly Problem[] } {
  const schema = SPECS.get(kind)?.schema;
  const { spec, problems } = judgeSpec(kind, schema ? pruned(schema, given) : given);
  return problems.length > 0 ? { problems } : { spec: spec as KindTypes[Kind]['spec'], problems };
}

/** The types say what the schema and the rules of the kind have just checked. */
const accepted = (kind: KindName, metadata: ManifestMeta, spec: unknown): Manifest =>
  ({ apiVersion: API_VERSION, kind, metadata, spec }) as Manifest;

const TOP_FIELDS = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

const unknownFields = (document: Record<string, unknown>): readonly Problem[] =>
  Object.keys(document)
    .filter((field) => !TOP_FIELDS.includes(field))
    .map((field) => ({ field, message: `unknown field; allowed are ${list(TOP_FIELDS)}` }));

function judgeMetadata(
  definition: KindDefinition,
  given: unknown,
): { metadata?: ManifestMeta; problems: readonly Problem[] } {
  const value = withoutNulls(given ?? {});
  if (!Metadata.Check(value)) {
    const [, errors] = Metadata.Errors(value);
    const problems = problemsOf(errors, value, { type: 'object' });
    return { problems: problems.map(({ field, message }) => ({ field: `metadata${field}`, message })) };
  }
  const { name, namespace = 'default', labels, annotations } = value;
  const metadata = { name, namespace, ...(labels && { labels }), ...(annotations && { annotations }) };
  return { metadata, problems: nameProblems(definition, name) };
}

function nameProblems({ maxNameLength }: KindDefinition, name: string): readonly Problem[] {
  const field = 'metadata.name';
  if (name.length > maxNameLength) return [{ field, message: `must have at most ${maxNameLength} characters` }];
  if (new RegExp(NAME_PATTERN).test(name)) return [];
  return [{ field, message: `${short(name)} does not fit: lower-case letters, digits and hyphens (${NAME_PATTERN})` }];
}

const withoutNulls = (value: unknown): unknown =>
  isObject(value) ? Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null)) : value;

function judgeSpec(kind: KindName, given: unknown): { spec: unknown; problems: readonly Problem[] } {
  const judge = SPECS.get(kind);
  if (!judge) throw new TypeError(`no schema for ${kind}`);
  if (given === undefined || given === null) {
    return { spec: undefined, problems: [{ field: 'spec', message: 'is required' }] };
  }
  const spec = withDefaults(judge.schema, given);
  const [, errors] = judge.closed.Errors(spec);
  const malformed = [...problemsOf(errors, spec, judge.schema), ...duplicateProblems(judge.schema, spec)];
  // Rules read a spec that fits the schema, so they are asked only about one that does.
  const problems = malformed.length > 0 ? malformed : ruleProblems(kind, spec);
  return { spec, problems: problems.map(({ field, message }) => ({ field: `spec${field}`, message })) };
}

/**
 * Unknown fields are refused in a manifest, as `kubectl apply` does, but a structural schema must not say so: an API
 * server prunes them itself.
 */
function closed(schema: StructuralSchema): object {
  const { properties, items } = schema;
  return {
    ...schema,
    ...(schema.type === 'object' && !schema.additionalProperties && { additionalProperties: false }),
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, closed(property)])),
    }),
    ...(items && { items: closed(items) }),
  };
}
