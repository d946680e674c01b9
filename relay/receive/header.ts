/** The header block of a message, field by field (RFC 5322 2.2). */

export interface HeaderField {
  /** Lower case; '' for a line that is no field. */
  readonly name: string;
  /** The field as it came, folds and last CRLF included, one character per byte (latin1). */
  readonly raw: string;
  /** Unfolded, without the name and surrounding white space, one character per byte (latin1). */
  readonly value: string;
  /**
   * False where parsers disagree on what the lines are: no colon, white space in or after the name, NUL, or a fold of
   * nothing but white space, which some take for the end of the header (RFC 5322 4.2).
   */
  readonly clear: boolean;
}

/** RFC 5322 2.2: a field name is printable ASCII without the colon. */
const FIELD_NAME = /^[!-9;-~]+$/;
const EMPTY_FOLD = /\n[ \t]*(?:\r|$)/;

/** Splits a header block with CRLF line ends, without its blank line. */
export function parseHeader(block: Buffer): readonly HeaderField[] {
  if (block.length === 0) return [];
  return block
    .toString('latin1')
    .replace(/\r\n$/, '')
    .split(/\r\n(?![ \t])/)
    .map(parseField);
}

function parseField(lines: string): HeaderField {
  const colon = lines.indexOf(':');
  const name = colon < 0 ? '' : lines.slice(0, colon);
  const folded = lines.includes('\n');
  const value = lines.slice(colon + 1);
  return {
    name: name.trim().toLowerCase(),
    raw: `${lines}\r\n`,
    value: (folded ? value.replaceAll('\r\n', '') : value).trim(),
    clear: FIELD_NAME.test(name) && !lines.includes('\0') && !(folded && EMPTY_FOLD.test(lines)),
  };
}
