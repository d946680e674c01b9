/** Reads the arguments of MAIL and RCPT (RFC 5321 4.1.1.2, 4.1.1.3, 4.1.2). */

export interface PathArgument {
  /** What stands between the angle brackets, without a source route. */
  readonly path: string;
  /** By keyword in upper case; true for one without a value. */
  readonly parameters: ReadonlyMap<string, string | true>;
}

/** Some clients put a space after the colon; nothing else could be meant, so it is taken. */
const ARGUMENT = /^(FROM|TO): ?<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(?: +(.*))?$/iu;
/** RFC 5321 4.1.1.3: to be accepted, and ignored. */
const SOURCE_ROUTE = /^@[^\s"<>@,:]+(?:,@[^\s"<>@,:]+)*:/u;
/** RFC 5321 4.1.2: esmtp-param; the value is UTF-8 with SMTPUTF8 (RFC 6531 3.3). */
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u{80}-\u{10ffff}]+))?$/u;

/**
 * @param word what the argument starts with
 * @returns what is wrong: the path; or the rest, parameters that are none or stand twice included
 */
export function parsePathArgument(word: 'FROM' | 'TO', argument: string): PathArgument | 'bad_path' | 'bad_argument' {
  if (!argument.toUpperCase().startsWith(`${word}:`)) return 'bad_argument';
  const match = ARGUMENT.exec(argument);
  if (match?.[2] === undefined) return 'bad_path';
  const parameters = new Map<string, string | true>();
  for (const item of match[3]?.trimEnd().split(/ +/) ?? []) {
    const parameter = PARAMETER.exec(item);
    const keyword = parameter?.[1]?.toUpperCase();
    if (keyword === undefined || parameters.has(keyword)) return 'bad_argument';
    parameters.set(keyword, parameter?.[2] ?? true);
  }
  return { path: match[2].replace(SOURCE_ROUTE, ''), parameters };
}
