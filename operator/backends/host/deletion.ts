/**
 * Whether an object that the manifests no longer hold may go. Deleting is the one edit that cannot be mended, and a
 * file that is being written, a folder that is being synchronised or a disk that is not mounted look like deleting. A
 * third of the proper prefixes of a manifest file parse and lack objects, so what one reading lacks proves nothing.
 */
import type { FileReading, FolderReading } from './manifests.ts';
import { refText } from './manifests.ts';

/** How long the manifests must have stood still (ms). */
export const STILL_MS = 2_000;

/** An object in force, and the manifest file it last came from. */
export interface StoredObject {
  /** `KIND/NAMESPACE/NAME`. */
  readonly id: string;
  readonly file: string;
}

/**
 * The stored objects that may go, judged by the latest readings, oldest first:
 *
 * - every reading of the last two seconds was whole: each file readable, each document parsed;
 * - the object's file is gone in all of them; or it is there byte for byte the same in all of them, ends with a
 *   newline, and lacks the object;
 * - no other file holds the object;
 * - the folder is there and holds some object, or `allowEmpty`.
 */
export function deletable(
  stored: readonly StoredObject[],
  readings: readonly FolderReading[],
  allowEmpty: boolean,
): readonly string[] {
  const still = stillReadings(readings);
  if (!still.every((reading) => isWhole(reading, allowEmpty))) return [];
  return stored.filter((object) => still.length > 0 && isGone(object, still)).map(({ id }) => id);
}

/** The latest reading, the one at least two seconds before it, and those between; none when there is no such pair. */
function stillReadings(readings: readonly FolderReading[]): readonly FolderReading[] {
  const latest = readings.at(-1);
  if (!latest) return [];
  const earliest = readings.findLastIndex(({ atMs }) => latest.atMs - atMs >= STILL_MS);
  return earliest === -1 ? [] : readings.slice(earliest);
}

function isWhole(reading: FolderReading, allowEmpty: boolean): boolean {
  if (reading.faults.length > 0) return false;
  return allowEmpty || [...reading.files.values()].some(({ objects }) => objects.length > 0);
}

function isGone(object: StoredObject, readings: readonly FolderReading[]): boolean {
  const held = readings.some(({ files }) => [...files.values()].some((file) => holds(file, object)));
  if (held) return false;
  const files = readings.map((reading) => reading.files.get(object.file));
  const [first] = files;
  if (first === undefined) return files.every((file) => file === undefined);
  return first.endsWithNewline && files.every((file) => file?.digest === first.digest);
}

const holds = (file: FileReading, object: StoredObject): boolean =>
  file.objects.some(({ ref }) => refText(ref) === object.id);
