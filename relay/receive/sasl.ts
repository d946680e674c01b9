/** The SASL dialogues of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login). */

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** What comes after a line of the client. */
export type Step =
  | { readonly challenge: string }
  | { readonly credentials: Credentials }
  | { readonly failed: 'malformed' | 'other_identity' };

/** Takes the lines of the client in turn; undefined first where AUTH came without an initial response. */
export type Exchange = (response: string | undefined) => Step;

export const MECHANISMS: ReadonlyMap<string, () => Exchange> = new Map([
  ['PLAIN', plain],
  ['LOGIN', login],
]);

const MALFORMED: Step = { failed: 'malformed' };

function plain(): Exchange {
  return (response) => {
    if (response === undefined) return { challenge: '' };
    const [identity, username, password, ...rest] = decode(response)?.split('\0') ?? [];
    if (identity === undefined || !username || password === undefined || rest.length > 0) return MALFORMED;
    // RFC 4616 2: nobody here may act as another.
    if (identity !== '' && identity !== username) return { failed: 'other_identity' };
    return { credentials: { username, password } };
  };
}

function login(): Exchange {
  let username: string | undefined;
  return (response) => {
    if (response === undefined) return { challenge: encode('Username:') };
    const text = decode(response);
    if (text === undefined) return MALFORMED;
    if (username !== undefined) return { credentials: { username, password: text } };
    username = text;
    return { challenge: encode('Password:') };
  };
}

const encode = (text: string): string => Buffer.from(text).toString('base64');

/** Strict base64 of UTF-8: what another decoder would read differently is no password. */
function decode(text: string): string | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64');
  const decoded = bytes.toString('utf8');
  return Buffer.from(decoded).equals(bytes) ? decoded : undefined;
}
