/** What SMTP smuggling is made of (SEC Consult, 2023, and what followed it). */

/** The ends of DATA that some server somewhere has taken for one. */
export const VARIANTS: readonly string[] = [
  '\n.\n',
  '\n.\r\n',
  '\n.\r',
  '\r.\r',
  '\r.\n',
  '\r.\r\n',
  '\r\n.\n',
  '\r\n.\r',
  '\r\n.\r\r\n',
  '\r\n.\n\r\n',
  '\r\r\n.\r\r\n',
  '\n\n.\r\n',
  '\n\n.\n\n',
  '\r\r.\r\r',
  '\n\r.\n\r',
  '\n\r\n.\n',
  '\r\n\r.\r\n',
  '\r\n\n.\r\n',
  '\r\n .\r\n',
  '\r\n\t.\r\n',
  '\r\n. \r\n',
  '\r\n..\r\n',
  '\r\n\v.\r\n',
  '\r\n.\x1a\r\n',
  '\r\n\x85.\r\n',
  '\x85.\x85',
  '\xe2\x80\xa8.\xe2\x80\xa8',
  '\r\n\x8a.\x8d\x8a',
];
/** A NUL is dropped by some servers. */
export const WITH_NUL: readonly string[] = [
  '\r\n\0.\r\n',
  '\r\n.\0\r\n',
  '\r\n.\r\0\n',
  '\r\0\n.\r\n',
  '\0\r\n\0.\0\r\n',
];
