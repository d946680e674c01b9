/** Which networks clients are in. */
import { BlockList, isIP } from 'node:net';
import type { ListenerSettings } from '../config/documents.ts';

/** By the list of networks of a config. */
const LISTS = new WeakMap<readonly string[], readonly { readonly network: string; readonly list: BlockList }[]>();

/** The address as it is judged: an IPv4-mapped one (RFC 4291 2.5.5.2) as IPv4, and without a zone (RFC 4007 11). */
export const plainAddress = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '');

/** The first network that exempts clients of the listener from AUTH; the address is plain (see above). */
export const exemptingNetwork = ({ exemptNetworks }: ListenerSettings, address: string): string | undefined =>
  networkOf(exemptNetworks, address);

/** The first of the networks that the address is in; the address is plain (see above). */
export function networkOf(networks: readonly string[], address: string): string | undefined {
  const version = isIP(address);
  if (version === 0) return undefined;
  let lists = LISTS.get(networks);
  if (lists === undefined) {
    lists = networks.map((network) => ({ network, list: listOf(network) }));
    LISTS.set(networks, lists);
  }
  return lists.find(({ list }) => list.check(address, version === 6 ? 'ipv6' : 'ipv4'))?.network;
}

/** What is no network has nobody in it. */
function listOf(network: string): BlockList {
  const list = new BlockList();
  const [address = '', prefix = ''] = network.split('/');
  const version = isIP(address);
  const bits = Number(prefix);
  if (version !== 0 && /^\d{1,3}$/.test(prefix) && bits <= (version === 6 ? 128 : 32)) {
    list.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/**
 * Whom limits of a client count: an IPv4 address, or the /64 of an IPv6 one, all of which is one subscriber's (RFC 6177).
 *
 * @param address plain (see above)
 */
export function clientNetwork(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail = ''] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(8 - before.length - after.length, 0) }, () => '0');
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':')}::/64`;
}
