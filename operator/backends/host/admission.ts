/**
 * What becomes of the objects that a reading of the manifests found: accepted, refused with the reasons, or left as
 * they are until the file has come to rest. What is refused never replaces what is in force.
 */
import {
  immutabilityProblems,
  type Manifest,
  type ManifestRef,
  type Problem,
  validateManifest,
} from '../../../crds/validate.ts';
import { type FileReading, type FolderReading, type FoundObject, type ReadFault, refText } from './manifests.ts';

/** A file that still changes within this time (ms) may be half written: what it says is not taken yet. */
export const SETTLE_MS = 250;

/** Something wrong with the manifests, as problems.json has it. */
export interface ManifestProblem {
  readonly file: string;
  /** `KIND/NAMESPACE/NAME`; absent where a file does not get that far. */
  readonly object?: string;
  /** Such as `spec.listeners[0].port`, or a line and column. */
  readonly field?: string;
  readonly message: string;
}

export interface AcceptedManifest {
  readonly manifest: Manifest;
  readonly file: string;
}

/** An object in force. */
export interface InForce {
  readonly ref: ManifestRef;
  readonly spec: unknown;
  readonly file: string;
}

export interface Admission {
  readonly accepted: readonly AcceptedManifest[];
  /** By `KIND/NAMESPACE/NAME`: what is wrong with the manifest of an object. */
  readonly refused: ReadonlyMap<string, readonly ManifestProblem[]>;
  /** Problems of files that cannot be laid to one object. */
  readonly files: readonly ManifestProblem[];
  /** Objects about which nothing is said yet: what was said of them before still holds. */
  readonly undecided: ReadonlySet<string>;
  /** Some file has not come to rest. */
  readonly unsettled: boolean;
}

/**
 * @param inForce the objects that were accepted before
 * @param readings the latest readings, oldest first
 */
export function admit(inForce: readonly InForce[], readings: readonly FolderReading[]): Admission {
  const latest = readings.at(-1);
  const accepted: AcceptedManifest[] = [];
  const refused = new Map<string, readonly ManifestProblem[]>();
  const undecided = new Set<string>();
  if (!latest) return { accepted, refused, files: [], undecided, unsettled: false };

  const settled = (file: FileReading): boolean => isSettled(file, latest, readings);
  const specs = new Map(inForce.map(({ ref, spec }) => [refText(ref), { spec }]));
  const found = Map.groupBy(
    [...latest.files.values()].flatMap(({ objects }) => objects),
    ({ ref }) => refText(ref),
  );
  for (const [id, places] of found) {
    if (places.some(({ file }) => !settled(latest.files.get(file) ?? NO_FILE))) {
      undecided.add(id);
      continue;
    }
    const verdict = judge(id, places, specs.get(id));
    if ('manifest' in verdict) accepted.push(verdict);
    else refused.set(id, verdict.problems);
  }
  for (const object of inForce) {
    const id = refText(object.ref);
    if (found.has(id)) continue;
    const file = latest.files.get(object.file);
    if (file && !settled(file)) undecided.add(id);
    else if (file && file.faults.length > 0)
      refused.set(
        id,
        file.faults.map((fault) => faultProblem(fault, id)),
      );
  }
  return {
    accepted,
    refused,
    undecided,
    files: [
      ...latest.faults
        .filter(({ file }) => settled(latest.files.get(file) ?? NO_FILE))
        .map((fault) => faultProblem(fault)),
      ...[...latest.files.values()].flatMap(foreignProblems),
    ],
    unsettled: ![...latest.files.values()].every(settled),
  };
}

/** Stands for a file that has no reading of its own, such as the folder itself: there is nothing to wait for. */
const NO_FILE: FileReading = { file: '', digest: '', endsWithNewline: true, objects: [], foreign: [], faults: [] };

function isSettled(file: FileReading, latest: FolderReading, readings: readonly FolderReading[]): boolean {
  if (file === NO_FILE) return true;
  const earlier = readings.findLastIndex(({ atMs }) => latest.atMs - atMs >= SETTLE_MS);
  return earlier !== -1 && readings.slice(earlier).every(({ files }) => files.get(file.file)?.digest === file.digest);
}

function judge(
  id: string,
  places: readonly FoundObject[],
  before: { readonly spec: unknown } | undefined,
): AcceptedManifest | { readonly problems: readonly ManifestProblem[] } {
  const [place, ...others] = places;
  if (!place) return { problems: [] };
  if (others.length > 0) {
    const files = [...new Set(places.map(({ file }) => file))];
    const message =
      files.length > 1
        ? `stands in ${files.join(' and ')}: keep it in one of them`
        : `stands ${places.length} times in the file: keep one`;
    return { problems: files.map((file) => ({ file, object: id, message })) };
  }
  const { file, document, ref } = place;
  const { object, problems } = validateManifest(document);
  const changed = object && before ? immutabilityProblems(ref.kind, before.spec, object.spec) : [];
  if (object && changed.length === 0) return { manifest: object, file };
  return { problems: [...problems, ...changed].map((problem) => fieldProblem(file, id, problem)) };
}

const fieldProblem = (file: string, object: string, { field, message }: Problem): ManifestProblem => ({
  file,
  object,
  ...(field !== '' && { field }),
  message,
});

const faultProblem = ({ file, place, message }: ReadFault, object?: string): ManifestProblem => ({
  file,
  ...(object !== undefined && { object }),
  ...(place !== undefined && { field: place }),
  message,
});

const foreignProblems = ({ file, foreign }: FileReading): readonly ManifestProblem[] =>
  foreign.map((object) => ({ file, object, message: 'is not a Chasqui kind and is left alone' }));

/** One line for a person: file, field, message. */
export const problemText = ({ file, field, message }: ManifestProblem): string =>
  `${file}: ${field === undefined ? '' : `${field}: `}${message}`;
