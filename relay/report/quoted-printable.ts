/** Any bytes as ASCII of short lines that people can still read (RFC 2045 6.7). CRLF stays a line end. */
export const quotedPrintable = (bytes: Buffer): Buffer =>
  Buffer.from(
    bytes
      .toString('latin1')
      .split('\r\n')
      .map((line) => softBreaks(line.replace(/[^\t -<>-~]|[\t ]$/g, escaped)))
      .join('\r\n'),
    'latin1',
  );

const escaped = (byte: string): string => `=${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;

/** Lines of at most 76 characters, with no break inside an escape. */
const softBreaks = (line: string): string => (line.match(/.{1,75}(?<!=|=.)/g) ?? []).join('=\r\n');
