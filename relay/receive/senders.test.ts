/** Which addresses are one, for who may use them: MAIL FROM and the header are compared alike. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CONFIG, Receiving } from '../../test/harness/receiving.ts';
import type { SmtpClient } from '../../test/harness/smtp-client.ts';

const SENDERS = ['*@xn--mller-kva.test', 'Only@other.test', 'jos\u00e9@other.test', 'a+b@other.test'];

let relay: Receiving;
before(async () => {
  const [user] = CONFIG.users.values();
  assert.ok(user);
  relay = await Receiving.start({ ...CONFIG, users: new Map([[user.username, { ...user, senders: SENDERS }]]) });
});
after(() => relay[Symbol.asyncDispose]());

const SAME: readonly string[] = [
  // A-label and U-label (RFC 5890 2.3.2.1), in any case, composed or not.
  'any@xn--mller-kva.test',
  'any@XN--MLLER-KVA.test',
  'any@m\u00fcller.test',
  'any@M\u00dcLLER.TEST',
  'any@mu\u0308ller.test',
  'any@m\u00fcller\u3002test',
  'ONLY@OTHER.TEST',
  'jos\u00e9@other.test',
  'jose\u0301@other.test',
  'JOS\u00c9@other.test',
  'a+b@other.test',
];
const OTHERS: readonly string[] = [
  'any@muller.test',
  'any@mueller.test',
  'any@sub.m\u00fcller.test',
  // Cyrillic letters that look like Latin ones.
  '\u043enly@other.test',
  'only@\u043ether.test',
  // Full-width letters, which IDNA makes plain in the domain alone.
  '\uff4fnly@other.test',
  'jose@other.test',
  'a@other.test',
  'only+tag@other.test',
  'o.nly@other.test',
];

async function mail(client: SmtpClient, address: string): Promise<string> {
  const reply = await client.say(`MAIL FROM:<${address}> SMTPUTF8`);
  if (reply.startsWith('250 ')) await client.talk(['RSET', '250 ']);
  return reply;
}

/** What a message under the null sender is answered whose From is the address. */
async function header(client: SmtpClient, address: string): Promise<string> {
  await client.talk(['MAIL FROM:<> SMTPUTF8', '250 '], ['RCPT TO:<ana@dest.test>', '250 '], ['DATA', '354 ']);
  return await client.content(Buffer.from(`From: ${address}\r\n\r\nHello\r\n`).toString('latin1'));
}

for (const address of SAME) {
  test(`${JSON.stringify(address)} is a sender of the user`, async () => {
    await using client = await relay.session();
    assert.match(await mail(client, address), /^250 /);
    assert.match(await header(client, address), /^250 /);
  });
}
for (const address of OTHERS) {
  test(`${JSON.stringify(address)} is none`, async () => {
    await using client = await relay.session();
    assert.match(await mail(client, address), /^550 5\.7\.1 /);
    assert.match(await header(client, address), /^550 5\.7\.1 /);
  });
}

test('of recipients in both scripts, those that need SMTPUTF8 are taken with it only, the others always', async () => {
  await using client = await relay.session();
  const recipients = ['ana@dest.test', 'жанна@dest.test', 'bob@müller.test', '"ж"@dest.test', 'eve@xn--mller-kva.test'];
  const replies = async (parameter: string) => {
    await client.talk([`MAIL FROM:<only@other.test>${parameter}`, '250 ']);
    const said = [];
    for (const recipient of recipients) said.push((await client.say(`RCPT TO:<${recipient}>`)).slice(0, 9));
    await client.talk(['DATA', '354 ']);
    assert.match(await client.content('From: only@other.test\r\n\r\nHello\r\n'), /^250 /);
    const deliveries = relay.accepted.at(-1)?.deliveries ?? [];
    return { said, taken: deliveries.flatMap((delivery) => delivery.recipients.map(({ address }) => address)) };
  };
  assert.deepEqual(await replies(''), {
    said: ['250 2.1.5', '553 5.6.7', '553 5.6.7', '553 5.6.7', '250 2.1.5'],
    taken: ['ana@dest.test', 'eve@xn--mller-kva.test'],
  });
  // One domain in two writings is one destination, with both recipients.
  assert.deepEqual(await replies(' SMTPUTF8'), {
    said: ['250 2.1.5', '250 2.1.5', '250 2.1.5', '250 2.1.5', '250 2.1.5'],
    taken: ['ana@dest.test', 'жанна@dest.test', '"ж"@dest.test', 'bob@xn--mller-kva.test', 'eve@xn--mller-kva.test'],
  });
});
