/**
 * Evaluates SPF (RFC 7208): may this address send for this domain? As a receiver does, with its limits, so that what
 * fails there is told here first.
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { expandIPv6, reverseName } from './ip.ts';
import type { Answer, QuestionType } from './lookup.ts';
import { isSpfRecord, type Mechanism, parseSpf, type Qualifier, type SpfRecord, SpfSyntax } from './spf-record.ts';

/** RFC 7208 4.6.4: terms that ask DNS, in all; answers without a record; hosts of an MX; names of a PTR. */
const MOST_LOOKUPS = 10;
const MOST_VOID_LOOKUPS = 2;
const MOST_MX_HOSTS = 10;

export type SpfResult = 'pass' | 'fail' | 'softfail' | 'neutral' | 'none' | 'temperror' | 'permerror';

export interface SpfVerdict {
  readonly result: SpfResult;
  /** What decided: the mechanism that matched, or what is wrong. */
  readonly why: string;
}

export type AskDns = (type: QuestionType, name: string) => Promise<Answer>;

export interface SpfClient {
  /** The IP address that connects. */
  readonly address: string;
  /** Domain of the envelope sender; where that is null, the name in EHLO (RFC 7208 2.4). */
  readonly domain: string;
  readonly helo: string;
}

/** check_host() of RFC 7208 4, for the sender postmaster of the domain. */
export async function evaluateSpf(client: SpfClient, ask: AskDns): Promise<SpfVerdict> {
  const evaluation = new Evaluation(client, ask);
  try {
    return await evaluation.check(client.domain);
  } catch (error) {
    if (error instanceof Stop) return { result: error.result, why: error.message };
    throw error;
  }
}

/** What ends the evaluation as a whole, from however deep an include. */
class Stop extends Error {
  override readonly name = 'Stop';
  readonly result: 'temperror' | 'permerror';

  constructor(result: Stop['result'], why: string) {
    super(why);
    this.result = result;
  }
}

const RESULT_OF: Readonly<Record<Qualifier, SpfResult>> = { '+': 'pass', '-': 'fail', '~': 'softfail', '?': 'neutral' };

class Evaluation {
  readonly #client: SpfClient;
  readonly #ask: AskDns;
  #lookups = 0;
  #voidLookups = 0;

  constructor(client: SpfClient, ask: AskDns) {
    this.#client = client;
    this.#ask = ask;
  }

  async check(domain: string): Promise<SpfVerdict> {
    const record = await this.#record(domain);
    if (!record) return { result: 'none', why: `${domain} has no SPF record` };
    for (const mechanism of record.mechanisms) {
      if (await this.#matches(mechanism, domain)) {
        return { result: RESULT_OF[mechanism.qualifier], why: `${mechanism.text} of ${domain}` };
      }
    }
    if (record.redirect === undefined) return { result: 'neutral', why: `nothing in the record of ${domain} matches` };
    // RFC 7208 6.1.
    this.#count();
    const target = this.#expand(record.redirect, domain);
    const redirected = await this.check(target);
    if (redirected.result === 'none') throw new Stop('permerror', `redirect=${target}: ${redirected.why}`);
    return redirected;
  }

  async #record(domain: string): Promise<SpfRecord | undefined> {
    const texts = await this.#asked('TXT', domain);
    const records = texts.filter(isSpfRecord);
    // RFC 7208 4.5: of several none can be chosen.
    if (records.length > 1) throw new Stop('permerror', `${domain} has ${records.length} SPF records; keep one`);
    try {
      return records[0] === undefined ? undefined : parseSpf(records[0]);
    } catch (error) {
      if (error instanceof SpfSyntax) throw new Stop('permerror', `${domain}: ${error.message}`);
      throw error;
    }
  }

  async #matches(mechanism: Mechanism, domain: string): Promise<boolean> {
    switch (mechanism.kind) {
      case 'all':
        return true;
      case 'ip4':
      case 'ip6':
        return inNetwork(this.#client.address, mechanism.address, mechanism.prefix);
      default:
        this.#count();
    }
    const target = mechanism.domain === undefined ? domain : this.#expand(mechanism.domain, domain);
    switch (mechanism.kind) {
      case 'include':
        return this.#includes(target);
      case 'exists':
        return (await this.#counted('A', target)).length > 0;
      case 'a':
        return this.#isHost(await this.#addresses(target), mechanism);
      case 'mx': {
        const hosts = await this.#counted('MX', target);
        if (hosts.length > MOST_MX_HOSTS) throw new Stop('permerror', `${mechanism.text}: more than 10 hosts`);
        for (const host of hosts) {
          if (host !== '' && this.#isHost(await this.#addresses(host), mechanism)) return true;
        }
        return false;
      }
      case 'ptr':
        return this.#hasName(target);
    }
  }

  /** RFC 7208 5.2. */
  async #includes(target: string): Promise<boolean> {
    const { result, why } = await this.check(target);
    if (result === 'none') throw new Stop('permerror', `include:${target}: ${why}`);
    return result === 'pass';
  }

  /** RFC 7208 5.5: a name of the address that leads back to it, at most ten of them. An error is no match. */
  async #hasName(target: string): Promise<boolean> {
    const { address } = this.#client;
    const answer = await this.#ask('PTR', reverseName(address));
    const names = answer.kind === 'Found' ? answer.values.slice(0, 10) : [];
    const suffix = target.toLowerCase();
    for (const name of names.map((each) => each.replace(/\.$/, '').toLowerCase())) {
      if (name !== suffix && !name.endsWith(`.${suffix}`)) continue;
      const forward = await this.#ask(isIPv6(address) ? 'AAAA' : 'A', name);
      if (forward.kind === 'Found' && forward.values.some((value) => inNetwork(address, value, bits(value))))
        return true;
    }
    return false;
  }

  #isHost(addresses: readonly string[], { prefix4, prefix6 }: { prefix4: number; prefix6: number }): boolean {
    return addresses.some((address) => inNetwork(this.#client.address, address, isIPv4(address) ? prefix4 : prefix6));
  }

  #addresses(host: string): Promise<readonly string[]> {
    return this.#counted(isIPv6(this.#client.address) ? 'AAAA' : 'A', host);
  }

  async #counted(type: QuestionType, name: string): Promise<readonly string[]> {
    const values = await this.#asked(type, name);
    if (values.length === 0) this.#voidLookups += 1;
    if (this.#voidLookups > MOST_VOID_LOOKUPS) {
      throw new Stop('permerror', `more than ${MOST_VOID_LOOKUPS} names lead nowhere, ${name} the last`);
    }
    return values;
  }

  async #asked(type: QuestionType, name: string): Promise<readonly string[]> {
    const answer = await this.#ask(type, name);
    if (answer.kind === 'Failed') throw new Stop('temperror', `${type} ${name}: ${answer.why}`);
    return answer.kind === 'Found' ? answer.values : [];
  }

  #count(): void {
    this.#lookups += 1;
    if (this.#lookups > MOST_LOOKUPS) throw new Stop('permerror', `more than ${MOST_LOOKUPS} DNS lookups are needed`);
  }

  /** RFC 7208 7. */
  #expand(spec: string, domain: string): string {
    const { address, helo } = this.#client;
    const values: Readonly<Record<string, string>> = {
      s: `postmaster@${this.#client.domain}`,
      l: 'postmaster',
      o: this.#client.domain,
      d: domain,
      i: isIPv6(address) ? expandIPv6(address).split('').join('.') : address,
      // RFC 7208 7.3: what cannot be told is "unknown"; no sane record asks for it any more.
      p: 'unknown',
      v: isIPv6(address) ? 'ip6' : 'in-addr',
      h: helo,
    };
    const expanded = spec.replace(
      /%(?:([%_-])|\{([a-z])(\d*)(r?)([-.+,/_=]*)\})/gi,
      (_, escaped: string | undefined, letter = '', digits = '', reverse = '', delimiters = '') => {
        if (escaped !== undefined) return { '%': '%', _: ' ' }[escaped] ?? '%20';
        const value = values[letter.toLowerCase()];
        // c, r and t stand in explanations only (RFC 7208 7.2); nor is there a part number 0.
        if (value === undefined || digits === '0')
          throw new Stop('permerror', `${spec}: %{${letter}} means nothing here`);
        const parts = value.split(new RegExp(`[${(delimiters || '.').replace(/[-/]/g, '\\$&')}]`));
        if (reverse !== '') parts.reverse();
        return parts.slice(digits === '' ? 0 : -Number(digits)).join('.');
      },
    );
    // Labels are dropped from the left until the name fits (RFC 7208 7.3).
    const labels = expanded.replace(/\.$/, '').split('.');
    while (labels.join('.').length > 253 && labels.length > 1) labels.shift();
    return labels.join('.');
  }
}

const bits = (address: string): number => (isIPv4(address) ? 32 : 128);

function inNetwork(address: string, network: string, prefix: number): boolean {
  const family = isIPv4(network) ? 'ipv4' : 'ipv6';
  if ((isIPv4(address) ? 'ipv4' : 'ipv6') !== family) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, family);
  return list.check(address, family);
}
