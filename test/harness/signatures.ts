/** What two judges, mailauth and dkimpy, say of the DKIM signatures of a message, each signature by itself. */
import assert from 'node:assert/strict';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { dkimpyVerdicts } from './python.ts';

/**
 * Both signatures of example.test are there, and both judges give each of them the verdict.
 *
 * @param zone text of a zone file, with the keys
 */
export async function assertSignatures(message: Buffer, zone: string, verdict: 'pass' | 'fail'): Promise<void> {
  const expected = ['ed25519-sha256', 'rsa-sha256'].map((algorithm) => `example.test ${algorithm} ${verdict}`);
  assert.deepEqual(await mailauthVerdicts(message, zone), expected, 'mailauth');
  const verdicts = await dkimpyVerdicts(message, { zone });
  const said = verdicts.map(
    ({ domain, algorithm, verified }) => `${domain} ${algorithm} ${verified ? 'pass' : 'fail'}`,
  );
  assert.deepEqual(said.sort(), expected, 'dkimpy');
}

async function mailauthVerdicts(message: Buffer, zone: string): Promise<readonly string[]> {
  const texts = textsOf(zone);
  const { results } = await dkimVerify(message, {
    resolver: async (name: string) => {
      const text = texts.get(name);
      if (text === undefined) throw Object.assign(new Error(`the zone has no ${name}`), { code: 'ENOTFOUND' });
      return [[text]];
    },
  });
  return results
    .map(
      ({ signingDomain, algo, status }) =>
        `${String(signingDomain)} ${String(algo)} ${status.result === 'pass' ? 'pass' : 'fail'}`,
    )
    .sort();
}

/** TXT records by name. The strings of DKIM keys have nothing that is escaped. */
const textsOf = (zone: string): ReadonlyMap<string, string> =>
  new Map(
    [...zone.matchAll(/^(\S+)\. \d+ IN TXT (.+)$/gm)].map(([, name = '', strings = '']) => [
      name,
      [...strings.matchAll(/"([^"]*)"/g)].map(([, text]) => text).join(''),
    ]),
  );
