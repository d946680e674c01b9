/** The part of dns-packet that the mock DNS uses; the package brings no types. */
declare module 'dns-packet' {
  export interface Question {
    readonly type: string;
    readonly name: string;
  }
  export type Answer =
    | { readonly type: 'MX'; readonly name: string; readonly ttl?: number; readonly data: MxData }
    | {
        readonly type: 'A' | 'AAAA' | 'CNAME' | 'NS' | 'PTR';
        readonly name: string;
        readonly ttl?: number;
        readonly data: string;
      }
    | { readonly type: 'TXT'; readonly name: string; readonly ttl?: number; readonly data: readonly string[] };
  export interface MxData {
    readonly preference: number;
    readonly exchange: string;
  }
  export interface Packet {
    readonly type?: 'query' | 'response';
    readonly id?: number;
    readonly flags?: number;
    readonly questions?: readonly Question[];
    readonly answers?: readonly Answer[];
  }
  export const RECURSION_DESIRED: number;
  export const RECURSION_AVAILABLE: number;
  export const AUTHORITATIVE_ANSWER: number;
  export const TRUNCATED_RESPONSE: number;
  export function encode(packet: Packet): Buffer;
  export function decode(bytes: Buffer): Packet;
  export function streamEncode(packet: Packet): Buffer;
}
