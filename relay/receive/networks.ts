/** Which clients are exempt from AUTH. */
import { BlockList, isIP } from 'node:net';
import type { ListenerSettings } from '../config/documents.ts';

const LISTS = new WeakMap<ListenerSettings, readonly { readonly network: string; readonly list: BlockList }[]>();

/** The address as it is judged: an IPv4-mapped one (RFC 4291 2.5.5.2) as IPv4, and without a zone (RFC 4007 11). */
export const plainAddress = (address: string): string =>
  address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '');

/** The first exempt network of the listener that the address is in; the address is plain (see above). */
export function exemptingNetwork(listener: ListenerSettings, address: string): string | undefined {
  const version = isIP(address);
  if (version === 0) return undefined;
  let lists = LISTS.get(listener);
  if (lists === undefined) {
    lists = listener.exemptNetworks.map((network) => ({ network, list: listOf(network) }));
    LISTS.set(listener, lists);
  }
  return lists.find(({ list }) => list.check(address, version === 6 ? 'ipv6' : 'ipv4'))?.network;
}

/** What is no network exempts nobody. */
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
