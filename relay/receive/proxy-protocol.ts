/** The header by which a proxy says whom it connects for: PROXY protocol versions 1 and 2 (HAProxy, proxy-protocol.txt). */
import { isIPv4, isIPv6, type Socket, SocketAddress } from 'node:net';
import { plainAddress } from './networks.ts';

export interface ProxyHeader {
  /**
   * Plain (networks.ts). self: the proxy speaks for itself (LOCAL), such as for a health check. unknown: for somebody of
   * whom it tells no internet address (UNKNOWN, UNSPEC, Unix sockets).
   */
  readonly client: { readonly address: string } | 'self' | 'unknown';
  /** What follows is the client's. */
  readonly bytes: number;
}

const V1_START = Buffer.from('PROXY ');
/** "the worst case", CRLF included. */
const V1_LONGEST = 107;
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_FIXED = 16;
/** Addresses and TLVs. The protocol has room for 64 KiB; what proxies say fits in a tenth of it. */
const V2_LONGEST = 4_096;
const PORT = /^(?:0|[1-9]\d{0,4})$/;

/** Address family and transport, to the length of an address and of the block of both addresses and ports. */
const FAMILIES: ReadonlyMap<number, { readonly address: number; readonly block: number }> = new Map([
  // UNSPEC: the block, if any, is not for us.
  [0x00, { address: 0, block: 0 }],
  [0x11, { address: 4, block: 12 }],
  [0x21, { address: 16, block: 36 }],
  // Unix sockets: no internet address.
  [0x31, { address: 0, block: 216 }],
]);

/**
 * Reads the header that the bytes begin with. What is incomplete may yet become one; it is never longer than 4 KiB and
 * some bytes. Checksums and other TLVs are not looked at.
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | 'incomplete' | 'malformed' {
  if (startsAlike(bytes, V2_START)) return bytes.length < V2_FIXED ? 'incomplete' : parseV2(bytes);
  if (startsAlike(bytes, V1_START)) return parseV1(bytes);
  return 'malformed';
}

/** Whether the bytes are the start, or its first part. */
function startsAlike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, length, 0, length) === 0;
}

function parseV1(bytes: Buffer): ProxyHeader | 'incomplete' | 'malformed' {
  const lf = bytes.subarray(0, V1_LONGEST).indexOf(0x0a);
  if (lf < 0) return bytes.length < V1_LONGEST ? 'incomplete' : 'malformed';
  if (bytes[lf - 1] !== 0x0d) return 'malformed';
  const header = { bytes: lf + 1 };
  const [, protocol = '', source = '', destination = '', ...ports] = bytes.toString('latin1', 0, lf - 1).split(' ');
  // Whatever else stands there is to be ignored.
  if (protocol === 'UNKNOWN') return { ...header, client: 'unknown' };
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isPlainIPv6 : undefined;
  if (!isAddress?.(source) || !isAddress(destination) || ports.length !== 2 || !ports.every(isPort)) return 'malformed';
  return { ...header, client: { address: canonical(source) } };
}

function parseV2(bytes: Buffer): ProxyHeader | 'incomplete' | 'malformed' {
  const version = bytes.readUInt8(12) >> 4;
  const command = bytes.readUInt8(12) & 0x0f;
  const length = bytes.readUInt16BE(14);
  if (version !== 2 || command > 1 || length > V2_LONGEST) return 'malformed';
  const header = { bytes: V2_FIXED + length };
  // LOCAL: a health check of the proxy's own. Its addresses are to be ignored, whatever their family.
  if (command === 0) return bytes.length < header.bytes ? 'incomplete' : { ...header, client: 'self' };
  const family = FAMILIES.get(bytes.readUInt8(13));
  if (family === undefined || length < family.block) return 'malformed';
  if (bytes.length < header.bytes) return 'incomplete';
  const address = addressAt(bytes.subarray(V2_FIXED, V2_FIXED + family.address));
  return { ...header, client: address === undefined ? 'unknown' : { address } };
}

function addressAt(bytes: Buffer): string | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16));
  return canonical(groups.join(':'));
}

const isPlainIPv6 = (text: string): boolean => isIPv6(text) && !text.includes('%');
const isPort = (text: string): boolean => PORT.test(text) && Number(text) <= 65_535;

/** One spelling (RFC 5952) for one address: it is compared and counted. */
const canonical = (address: string): string =>
  plainAddress(isIPv4(address) ? address : new SocketAddress({ address, family: 'ipv6' }).address);

/**
 * Reads the header from a socket, and leaves what follows in it.
 *
 * @param done with undefined where it is none: nothing that comes from there can be trusted
 */
export function readProxyHeader(socket: Socket, done: (header: ProxyHeader | undefined) => void): void {
  let read: Buffer = Buffer.alloc(0);
  const left = () => socket.destroy();
  const take = (chunk: Buffer) => {
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    const header = parseProxyHeader(read);
    if (header === 'incomplete') return;
    socket.off('data', take);
    socket.off('end', left);
    socket.pause();
    if (header === 'malformed') {
      done(undefined);
      return;
    }
    const rest = read.subarray(header.bytes);
    if (rest.length > 0) socket.unshift(rest);
    done(header);
  };
  socket.on('data', take);
  socket.once('end', left);
}
