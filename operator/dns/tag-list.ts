/** Tag lists: the form of DKIM keys (RFC 6376 3.2) and DMARC policies (RFC 7489 6.3), `tag=value; tag=value`. */

/**
 * Tags by name, in their order, white space around names and values taken off.
 * @returns undefined for what is no tag list, as when a tag stands twice
 */
export function tagList(text: string): ReadonlyMap<string, string> | undefined {
  const tags = new Map<string, string>();
  const parts = text.split(';').map((part) => part.trim());
  // One semicolon may end the list.
  if (parts.at(-1) === '') parts.pop();
  for (const part of parts) {
    const [, name, value] = /^([a-zA-Z][a-zA-Z0-9_]*)\s*=\s*(.*)$/s.exec(part) ?? [];
    if (name === undefined || value === undefined || tags.has(name)) return undefined;
    tags.set(name, value);
  }
  return tags;
}
