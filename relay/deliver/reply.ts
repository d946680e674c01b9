/** SMTP replies: what a remote server said, made safe to store and to show. */
import type { Reply } from '../spool/envelope.ts';

/** Characters of text kept: enough for the longest real explanations, little beside a queued message. */
const MAX_TEXT = 1_000;
const LINE = /^([2-5]\d\d)(?:[ -](.*))?$/s;
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)/;

/**
 * Reads a reply, of one line or more (RFC 5321 4.2.1). The text of its lines is joined by spaces, without codes and
 * control characters, so that it fits a log line, a DSN and a terminal.
 *
 * @param host who said it
 */
export function parseReply(response: string, host: string): Reply {
  const lines = response.slice(0, 4 * MAX_TEXT).split(/\r?\n/);
  const first = LINE.exec(lines[0] ?? '');
  if (!first) return { code: 451, enhanced: '4.5.0', text: clean(`Not an SMTP reply: ${response}`), host };
  const code = Number(first[1]);
  const enhanced = ENHANCED.exec(first[2] ?? '')?.[1];
  const text = lines.map((line) => (LINE.exec(line)?.[2] ?? '').replace(ENHANCED, '')).join(' ');
  return { code, ...(enhanced && { enhanced }), text: clean(text), host };
}

/** A reply of our own making, where the other side said nothing. */
export const ownReply = (code: number, enhanced: string, text: string): Reply => ({
  code,
  enhanced,
  text: clean(text),
});

const clean = (text: string): string =>
  text
    .slice(0, 4 * MAX_TEXT)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim()
    .slice(0, MAX_TEXT);
