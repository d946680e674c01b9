/** IP addresses as text. */
import { isIPv6 } from 'node:net';

/** The 32 hexadecimal digits of an IPv6 address that `net.isIPv6` takes, lower case. */
export function expandIPv6(address: string): string {
  // The embedded IPv4 part of ::ffff:192.0.2.1 and its like (RFC 4291 2.2).
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...octets: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = octets.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const groupsOf = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const before = groupsOf(head);
  const after = groupsOf(tail);
  const zeros = new Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].map((group) => group.toLowerCase().padStart(4, '0')).join('');
}

/** Where the name of an address is looked up: RFC 1035 3.5, RFC 3596 2.5. */
export function reverseName(address: string): string {
  if (!isIPv6(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  return `${expandIPv6(address).split('').reverse().join('.')}.ip6.arpa`;
}
