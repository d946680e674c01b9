/**
 * How long destinations and name servers are waited for, in milliseconds. RFC 5321 4.5.3.2 asks for 5 minutes for most
 * replies; it says why not less for the final dot.
 */
export interface Timeouts {
  /** Of the first try of a DNS query; the second waits longer. */
  readonly dns: number;
  readonly connect: number;
  /** From the connection to the end of EHLO, STARTTLS included. */
  readonly greeting: number;
  /** Without progress, before the content is sent and while it is. */
  readonly command: number;
  /** RFC 5321 4.5.3.2.6: giving up while the server works on the message makes it arrive twice (RFC 1047). */
  readonly finalDot: number;
  /** An attempt as a whole, all hosts and messages of it: servers that go on and on, a byte at a time, end here. */
  readonly attempt: number;
}

export const TIMEOUTS: Timeouts = {
  dns: 3_000,
  connect: 30_000,
  greeting: 60_000,
  command: 5 * 60_000,
  finalDot: 10 * 60_000,
  attempt: 2 * 3_600_000,
};
