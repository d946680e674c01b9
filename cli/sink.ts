/** A demo receiver: takes any mail, prints what arrived, and verifies its DKIM signatures. */
import { resolveTxt } from 'node:dns/promises';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import Type from 'typebox';
import Schema from 'typebox/schema';
import { Listener } from '../relay/receive/listener.ts';
import { SinkConversation } from './sink-conversation.ts';

/**
 * TXT records of a name, each in its parts.
 * @throws as node:dns does
 */
type TextRecords = (name: string) => Promise<readonly (readonly string[])[]>;

export interface SinkOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Where the keys are, asked anew for each message. */
  readonly records: () => Promise<TextRecords>;
  readonly json: boolean;
  readonly signal: AbortSignal;
  readonly out: { write(text: string): unknown };
}

const IDLE_TIMEOUT_MS = 300_000;
/** For messages in hand, when the sink is told to stop. */
const GRACE_MS = 500;

const StoredDomain = Schema.Compile(
  Type.Object({
    status: Type.Object({
      dnsRecords: Type.Array(Type.Object({ type: Type.String(), name: Type.String(), value: Type.String() })),
    }),
  }),
);

interface Arrival {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly sizeBytes: number;
  readonly signatures: readonly {
    readonly domain: string;
    readonly selector: string;
    readonly algorithm: string;
    readonly result: string;
  }[];
}

/** Runs until the signal. Each message is answered 250 once it was read, and is then forgotten. */
export async function sink({ listen, records, json, signal, out }: SinkOptions): Promise<void> {
  const taken = (message: Buffer, from: string, to: readonly string[]) => {
    void examine(message, from, to, records).then(
      (arrival) => out.write(json ? `${JSON.stringify(arrival)}\n` : readable(arrival)),
      (error: unknown) => out.write(`could not be examined: ${String(error)}\n`),
    );
  };
  const listener = new Listener({
    implicitTls: false,
    limits: { idleTimeoutMs: IDLE_TIMEOUT_MS },
    converse: (channel) => new SinkConversation(channel, taken),
    onProblem: (problem) => out.write(`session failed: ${problem}\n`),
    onSecured: () => undefined,
  });
  await listener.open(listen);
  if (!json) out.write(`sink takes mail at ${listen.host}:${listen.port}\n`);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const timer = setTimeout(() => listener.cut(), GRACE_MS);
  await listener.stop();
  clearTimeout(timer);
}

async function examine(
  message: Buffer,
  from: string,
  to: readonly string[],
  records: SinkOptions['records'],
): Promise<Arrival> {
  const lookUp = await records();
  const { results } = await dkimVerify(message, {
    resolver: async (name: string, type: string) => {
      if (type !== 'TXT') throw notFound(name, type);
      return (await lookUp(name)).map((parts) => [...parts]);
    },
  });
  const header = message.subarray(0, Math.max(0, message.indexOf('\r\n\r\n'))).toString();
  return {
    from,
    to,
    subject: /^subject:[ \t]*(.*)$/im.exec(header)?.[1]?.trim() ?? '',
    sizeBytes: message.length,
    signatures: results
      .filter(({ selector }) => selector)
      .map((result) => ({
        domain: String(result.signingDomain),
        selector: String(result.selector),
        algorithm: String(result.algo),
        result: result.status.comment ? `${result.status.result} (${result.status.comment})` : result.status.result,
      })),
  };
}

const notFound = (name: string, type: string): Error =>
  Object.assign(new Error(`no ${type} record of ${name}`), { code: 'ENOTFOUND' });

/** What DNS has, as the system's resolvers see it. */
export const recordsOfDns: SinkOptions['records'] = () => Promise.resolve(resolveTxt);

/** What the MailDomains of a state folder would have published, as their status says. Read afresh: keys come and go. */
export async function recordsOfState(state: string): Promise<TextRecords> {
  const records = new Map<string, string>();
  const folder = join(state, 'objects', 'MailDomain');
  const files = await readdir(folder, { recursive: true }).catch(() => []);
  for (const file of files.filter((name) => name.endsWith('.json'))) {
    const stored: unknown = JSON.parse(await readFile(join(folder, file), 'utf8'));
    if (!StoredDomain.Check(stored)) continue;
    for (const { type, name, value } of stored.status.dnsRecords) {
      if (type === 'TXT') records.set(name.toLowerCase(), value);
    }
  }
  return async (name) => {
    const value = records.get(name.toLowerCase());
    if (value === undefined) throw notFound(name, 'TXT');
    return [[value]];
  };
}

/** The sender chooses these texts: no control character reaches the terminal. */
const shown = (text: string): string => text.replace(/\p{Cc}/gu, '?');

const readable = ({ from, to, subject, sizeBytes, signatures }: Arrival): string =>
  [
    '',
    `Mail from <${shown(from)}> to ${to.map((address) => `<${shown(address)}>`).join(', ')}, ${sizeBytes} bytes`,
    `  Subject: ${shown(subject)}`,
    ...(signatures.length === 0 ? ['  DKIM: not signed'] : []),
    ...signatures.map(
      ({ domain, selector, algorithm, result }) =>
        `  DKIM ${shown(`${selector}._domainkey.${domain}`)} ${algorithm}: ${shown(result)}`,
    ),
    '',
  ].join('\n');
