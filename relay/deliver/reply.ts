/** SMTP replies: what a remote server said, made safe to store and to show. */
import type { Reply } from '../spool/envelope.ts';

/** Characters of text kept: enough for the longest real explanations, little beside a queued message. */
const MAX_TEXT = 1_000;
const LINE = /^([2-5]\d\d)(?:[ -](.*))?$/s;
const CODED = /^\d\d\d(?:[ -]|$)/;
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)/;

/**
 * The code of a reply; undefined for what is none of SMTP's. RFC 5321 4.2.1: the lines of a reply have one code. Where
 * they say yes and no, nobody can tell which is meant, and a message must not be lost or given up over it. A line
 * without a code among them is talk.
 */
export function codeOf(response: string): number | undefined {
  const code = LINE.exec(firstLine(response))?.[1];
  if (code === undefined) return undefined;
  if (!response.includes('\n')) return Number(code);
  const agree = response.split('\n').every((line) => !CODED.test(line) || line[0] === code[0]);
  return agree ? Number(code) : undefined;
}

/**
 * Reads a reply, of one line or more (RFC 5321 4.2.1). The text of its lines is joined by spaces, without codes and
 * control characters, so that it fits a log line, a DSN and a terminal.
 *
 * @param host who said it
 */
export function parseReply(response: string, host: string): Reply {
  const code = codeOf(response);
  if (code === undefined) return { code: 451, enhanced: '4.5.0', text: clean(`Not an SMTP reply: ${response}`), host };
  const lines = response.slice(0, 4 * MAX_TEXT).split(/\r?\n/);
  const enhanced = ENHANCED.exec(LINE.exec(lines[0] ?? '')?.[2] ?? '')?.[1];
  const text = lines.map((line) => (LINE.exec(line)?.[2] ?? '').replace(ENHANCED, '')).join(' ');
  // RFC 2034 4: the classes of both codes are the same. Where they are not, the plain one is what SMTP goes by.
  return { code, ...(enhanced?.startsWith(String(code).charAt(0)) && { enhanced }), text: clean(text), host };
}

/** A reply that answers something else than was asked, such as 354 to RCPT: what it is worth for a recipient. */
export const outOfStep = (response: string, host: string): Reply => ({
  code: 451,
  enhanced: '4.5.0',
  text: clean(`Not an answer to what was asked: ${response}`),
  host,
});

/** A reply of our own making, where the other side said nothing. */
export const ownReply = (code: number, enhanced: string, text: string): Reply => ({
  code,
  enhanced,
  text: clean(text),
});

const firstLine = (response: string): string => response.split('\n', 1)[0]?.replace(/\r$/, '') ?? '';

const clean = (text: string): string =>
  text
    .slice(0, 4 * MAX_TEXT)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim()
    .slice(0, MAX_TEXT);
