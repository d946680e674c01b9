/**
 * The DNS records that make mail of a domain trusted: DKIM (RFC 6376, RFC 8463), SPF (RFC 7208), DMARC (RFC 7489), and
 * those of the relays' host names. What to publish, as data; `zone.ts` writes it as a zone file.
 */
import { isIP, isIPv6 } from 'node:net';
import type { MailDomainSpec } from '../../crds/maildomain.ts';
import type { SmtpRelaySpec } from '../../crds/smtprelay.ts';
import { reverseName } from './ip.ts';

export interface DnsRecord {
  readonly type: 'TXT' | 'A' | 'AAAA' | 'PTR';
  /** Owner name: lower case, absolute, without the trailing dot. */
  readonly name: string;
  /** What to publish: text unquoted and in one piece, names without the trailing dot. */
  readonly value: string;
}

/** A record together with what it is for, by which what DNS has instead is judged. */
export type WantedRecord = DnsRecord &
  (
    | { readonly purpose: 'Dkim' | 'Dmarc' | 'Host' | 'Reverse' }
    /** Mail from these addresses must pass. */
    | { readonly purpose: 'Spf' | 'HostSpf'; readonly addresses: readonly string[] }
  );

export interface DkimPublicKey {
  readonly selector: string;
  readonly algorithm: 'RSA2048' | 'Ed25519';
  /** Base64: of the SubjectPublicKeyInfo for RSA, of the 32 bytes of the key for Ed25519. */
  readonly publicKey: string;
}

export interface DnsInput {
  readonly domain: Pick<MailDomainSpec, 'domain' | 'spf' | 'dmarc'>;
  /** The relays that send as the domain. */
  readonly relays: readonly Pick<SmtpRelaySpec, 'hostname' | 'egress'>[];
  readonly keys: readonly DkimPublicKey[];
}

/** All records of a domain: its own first, then those of its relays' host names, then advice on their addresses. */
export function dnsRecords(input: DnsInput): WantedRecord[] {
  const domain = input.domain.domain.toLowerCase();
  const spf = spfRecord(input);
  return [
    ...input.keys.map((key) => dkimRecord(domain, key)),
    ...(spf ? [spf] : []),
    dmarcRecord(input.domain),
    // Two SPF records at one name are a permanent error (RFC 7208 4.5): the domain's own stands for both.
    ...hostnameRecords(input.relays).filter(({ purpose, name }) => !(spf && purpose === 'HostSpf' && name === domain)),
    ...reverseRecords(input.relays),
  ];
}

const K_TAG = { RSA2048: 'rsa', Ed25519: 'ed25519' } as const;

/** RFC 6376 3.6.1, RFC 8463 3. */
function dkimRecord(domain: string, key: DkimPublicKey): WantedRecord {
  const value = `v=DKIM1; k=${K_TAG[key.algorithm]}; p=${key.publicKey}`;
  return { type: 'TXT', name: dkimName(key.selector, domain), value, purpose: 'Dkim' };
}

/** Where the key of a selector is published. */
export const dkimName = (selector: string, domain: string): string => `${selector}._domainkey.${domain.toLowerCase()}`;

const SPF_ALL = { Fail: '-all', SoftFail: '~all', Neutral: '?all' } as const;

/** undefined where nothing is known to send for the domain: such a record would forbid its mail. */
function spfRecord({ domain: { domain, spf }, relays }: DnsInput): WantedRecord | undefined {
  const addresses = egressAddresses(relays);
  const senders = [...addresses.map(ipMechanism), ...spf.include.map((include) => `include:${include.toLowerCase()}`)];
  if (senders.length === 0) return undefined;
  const value = ['v=spf1', ...new Set(senders), SPF_ALL[spf.all]].join(' ');
  return { type: 'TXT', name: domain.toLowerCase(), value, purpose: 'Spf', addresses };
}

/** RFC 7489 6.3. */
function dmarcRecord({ domain, dmarc }: DnsInput['domain']): WantedRecord {
  const tags = ['v=DMARC1', `p=${dmarc.policy.toLowerCase()}`];
  // In a URI a bare % would begin an escape (RFC 3986 2.1).
  const reportTo = dmarc.reportTo.map((address) => `mailto:${address.replaceAll('%', '%25')}`);
  if (reportTo.length > 0) tags.push(`rua=${reportTo.join(',')}`);
  return { type: 'TXT', name: `_dmarc.${domain.toLowerCase()}`, value: tags.join('; '), purpose: 'Dmarc' };
}

/**
 * The host name must lead to the addresses the relay sends from, and bounces, whose sender is null, are judged by the
 * SPF of the name in EHLO (RFC 7208 2.4). Relays that share a name share its records.
 */
function hostnameRecords(relays: DnsInput['relays']): WantedRecord[] {
  const names = [...new Set(relays.map(({ hostname }) => hostname.toLowerCase()))];
  return names.flatMap((name): WantedRecord[] => {
    const addresses = egressAddresses(relays.filter(({ hostname }) => hostname.toLowerCase() === name));
    if (addresses.length === 0) return [];
    return [
      ...addresses.map((value) => ({ type: isIPv6(value) ? 'AAAA' : 'A', name, value, purpose: 'Host' }) as const),
      {
        type: 'TXT',
        name,
        value: ['v=spf1', ...addresses.map(ipMechanism), '-all'].join(' '),
        purpose: 'HostSpf',
        addresses,
      },
    ];
  });
}

/** What the owner of the addresses must set: many receivers refuse addresses whose PTR is not the name in EHLO. */
function reverseRecords(relays: DnsInput['relays']): WantedRecord[] {
  return relays.flatMap(({ hostname, egress }) =>
    egressAddresses([{ egress }]).map(
      (address) =>
        ({ type: 'PTR', name: reverseName(address), value: hostname.toLowerCase(), purpose: 'Reverse' }) as const,
    ),
  );
}

const egressAddresses = (relays: readonly Pick<SmtpRelaySpec, 'egress'>[]): string[] => [
  ...new Set(relays.flatMap(({ egress }) => egress.addresses).filter((address) => isIP(address) !== 0)),
];

const ipMechanism = (address: string): string => (isIPv6(address) ? `ip6:${address}` : `ip4:${address}`);
