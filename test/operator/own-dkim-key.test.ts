/** Mail signed by a key of the user's own, as a receiver verifies it that has the record of the status. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import type { MailDomainStatus } from '../../crds/maildomain.ts';
import { Destination } from '../harness/destination.ts';
import { DOMAIN, domain, RELAY, relay, send } from '../harness/local-relay.ts';
import { freePorts, Standalone } from '../harness/standalone.ts';

test('a domain is signed by the key in a Secret of its own, and by another once that is there', async () => {
  const [port = 0, submission = 0, monitoring = 0] = await freePorts(3);
  await using destination = await Destination.start();
  const own = (keys: string): string => domain().replace('dns:', `dkim: {algorithms: [], keys: [${keys}]}, dns:`);
  const first = '{selector: mail, algorithm: RSA2048, secretRef: {name: mail}}';
  await using standalone = await Standalone.start({
    'relay.yaml': relay({ port, submission, monitoring, destination: destination.port }),
    'domain.yaml': own(first),
  });
  await standalone.untilReady(RELAY);
  const dkim = () => standalone.condition(DOMAIN, 'DkimReady');
  await standalone.until('the key is missed', () => dkim()?.reason === 'SecretNotFound');
  const keep = (name: string, text: string): string => {
    const folder = join(standalone.state, 'secrets/default', name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'private.pem'), text, { mode: 0o600 });
    return folder;
  };
  const pem = (): string =>
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  const key = pem();
  const folder = keep('mail', key);
  await standalone.untilReady(DOMAIN);

  /** What a receiver makes of a message that is sent now: selector and result. */
  const received = async (): Promise<string[]> => {
    const before = destination.messages.length;
    await send(port, 'hello');
    await destination.until(() => destination.messages.length > before);
    const status = standalone.object(DOMAIN)?.status as Pick<MailDomainStatus, 'dnsRecords'> | undefined;
    const { results } = await dkimVerify(destination.messages[before]?.data ?? Buffer.alloc(0), {
      resolver: async (name: string) => {
        const record = status?.dnsRecords?.find((each) => each.name === name);
        if (!record) throw Object.assign(new Error(`no ${name}`), { code: 'ENOTFOUND' });
        return [[record.value]];
      },
    });
    return results.map(({ selector, status }) => `${String(selector)} ${status.result}`);
  };
  assert.deepEqual(await received(), ['mail pass']);

  keep('next', pem());
  standalone.write('domain.yaml', own(`${first}, {selector: next, algorithm: RSA2048, secretRef: {name: next}}`));
  await standalone.until('the next one signs', async () => (await received())[0] === 'next pass');
  await standalone.untilReady(DOMAIN);
  assert.equal(readFileSync(join(folder, 'private.pem'), 'utf8'), key, 'it is never written');
  assert.ok(!standalone.lines.some((line) => JSON.stringify(line).includes('PRIVATE KEY')), 'no log tells it');
});
