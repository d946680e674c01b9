/** The header block of a message, field by field (RFC 5322 2.2). */

export interface HeaderField {
  /** Lower case; '' for a line that is no field. */
  readonly name: string;
  /** The field as it came, folds and last CRLF included, one character per byte (latin1). */
  readonly raw: string;
  /** Unfolded, without the name and surrounding white space, one character per byte (latin1). */
  readonly value: string;
  /** False where parsers disagree on what the line is: no colon, white space in or after the name, NUL. */
  readonly clear: boolean;
}

/** RFC 5322 2.2: a field name is printable ASCII without the colon. */
const FIELD_NAME = /^[!-9;-~]+$/;

/** Splits a header block with CRLF line ends, without its blank line. */
export function parseHeader(block: Buffer): readonly HeaderField[] {
  if (block.length === 0) return [];
  return block
    .toString('latin1')
    .replace(/\r\n$/, '')
    .split(/\r\n(?![ \t])/)
    .map(parseField);
}

function parseField(line: string): HeaderField {
  const colon = line.indexOf(':');
  const name = colon < 0 ? '' : line.slice(0, colon);
  const clear = FIELD_NAME.test(name) && !line.includes('\0');
  return {
    name: name.trim().toLowerCase(),
    raw: `${line}\r\n`,
    value: line
      .slice(colon + 1)
      .replace(/\r\n/g, '')
      .trim(),
    clear,
  };
}
