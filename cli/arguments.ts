/** Arguments of the command line, parsed and checked where they enter. */
import { isIP, isIPv6 } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import { NAME_PATTERN } from '../crds/common.ts';
import { durationMs } from '../crds/duration.ts';

const NAME = new RegExp(NAME_PATTERN);

/** A whole number within bounds. */
export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };

/** A duration such as `90s`, in milliseconds. */
export function duration(text: string): number {
  try {
    return durationMs(text);
  } catch {
    throw new InvalidArgumentError('It must be a duration such as 90s, 30m or 24h.');
  }
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`, with an IPv6 address in brackets. */
export function hostAndPort(text: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3] ?? -1);
  const brackets = match?.[1] === undefined || isIPv6(match[1]);
  if (host === '' || !brackets || port < 0 || port > 65535) {
    throw new InvalidArgumentError('It must be HOST:PORT, such as 127.0.0.1:2587 or [::1]:2587.');
  }
  return { host, port };
}

/** `[HOST]:PORT`, all addresses without a host; undefined for `0`, which means none. */
export function bindAddress(text: string): { readonly host?: string; readonly port: number } | undefined {
  if (text === '0') return undefined;
  return text.startsWith(':') ? { port: hostAndPort(`any${text}`).port } : hostAndPort(text);
}

/** Names of namespaces, with commas. */
export function nameList(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.every((name) => NAME.test(name) && name.length <= 63)) return [...new Set(names)];
  throw new InvalidArgumentError('It must be names of namespaces, with commas, such as mail,shop.');
}

/** `-o table|json|...`; the first is the default. */
export const outputOption = (...forms: readonly [string, ...string[]]): Option =>
  new Option('-o, --output <form>', 'form of the output').choices(forms).default(forms[0]);

/** The state folder of `chasqui standalone`. */
export const stateOption = (): Option =>
  new Option('--state <dir>', 'state folder of the standalone').env('CHASQUI_STATE').default('./state');

/** An IP address, with a port where it is not 53: `192.0.2.53`, `127.0.0.1:5353`, `[::1]:5353`. */
export function dnsServer(text: string): string {
  if (isIP(text) !== 0) return text;
  const { host, port } = hostAndPort(text);
  if (isIP(host) === 0 || port === 0) {
    throw new InvalidArgumentError('It must be an IP address, such as 192.0.2.53 or 127.0.0.1:5353.');
  }
  return text;
}

/** Whom controllers ask whether records are published. */
export const dnsResolversOption = (): Option =>
  new Option(
    '--dns-resolvers <ip[:port],...>',
    "resolvers that must have a DKIM key before it signs; by default the name servers of the domain's own zone",
  )
    .argParser((text: string) => text.split(',').map(dnsServer))
    .default([], 'those of the zone');
