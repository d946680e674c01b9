/** Text of others (replies, addresses, ids) made fit for a line of a notice. */

/** Characters of a remote reply or an address that are told: more than any honest one has. */
const LONGEST = 1_000;
/** RFC 5322 2.1.1 allows 998 bytes a line; a character has at most 4. */
const WORD = /.{1,240}/gu;

/** One line, bounded, without control and format characters: it can neither add a field nor turn text around. */
export const oneLine = (text: string): string =>
  text
    .slice(0, LONGEST)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();

/** For fields whose type allows ASCII alone. */
export const ascii = (text: string): string => text.replace(/[^ -~]/gu, '?');

export const isAscii = (text: string): boolean => !/\P{ASCII}/u.test(text);

/** Breaks text at its blanks, where there are any, into lines of about 72 characters. */
export function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').flatMap((long) => long.match(WORD) ?? [])) {
    if (line !== '' && line.length + 1 + word.length > 72) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
