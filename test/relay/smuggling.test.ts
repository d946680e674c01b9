/**
 * SMTP smuggling (SEC Consult, 2023, and what followed it): whatever a client takes for the end of a message, there is
 * never a second one, neither here nor at the next hop.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Receiving } from '../harness/receiving.ts';
import { VARIANTS, WITH_NUL } from '../harness/smuggling.ts';

let relay: Receiving;
before(async () => {
  relay = await Receiving.start();
});
after(() => relay[Symbol.asyncDispose]());

const END_OF_DATA = '\r\n.\r\n';

const HEADER = 'From: app@example.test\r\nSubject: innocent\r\n\r\n';
const SMUGGLED =
  'MAIL FROM:<boss@example.test>\r\nRCPT TO:<victim@dest.test>\r\nDATA\r\n' +
  'From: boss@example.test\r\nSubject: smuggled\r\n\r\npay him\r\n';

/** In pieces of some bytes: parsers have been fooled by where the packets end. */
function* pieces(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** The client's last line is QUIT, so that what was smuggled has been run by then if it ever is. */
async function send(variant: string, size: number): Promise<readonly string[]> {
  await using client = await relay.session('local');
  await client.talk(['MAIL FROM:<app@example.test>', '250 '], ['RCPT TO:<ana@dest.test>', '250 '], ['DATA', '354 ']);
  const bytes = Buffer.from(`${HEADER}text${variant}${SMUGGLED}.\r\nQUIT\r\n`, 'latin1');
  client.socket.setNoDelay(true);
  for (const piece of pieces(bytes, size)) client.send(piece);
  const replies = [await client.reply()];
  while (!replies.at(-1)?.startsWith('221')) replies.push(await client.reply());
  await client.ended();
  return replies.map((reply) => reply.slice(0, 9));
}

/** How the most lenient server would count the messages of what goes out to it, dots stuffed (RFC 5321 4.5.2). */
function endsOnTheWire(stored: string): number {
  const stuffed = `\r\n${stored}`.replaceAll('\r\n.', '\r\n..').slice(2);
  const wire = `${stuffed}.\r\n`;
  // Each of CRLF, CR and LF is a line end, and NUL is dropped.
  const lines = wire.replaceAll('\0', '').split(/\r\n|\r|\n/);
  return lines.filter((line) => line === '.').length;
}

for (const variant of VARIANTS) {
  for (const size of [100_000, 1]) {
    test(`${JSON.stringify(variant)} ends no message, ${size === 1 ? 'byte by byte' : 'in one piece'}`, async () => {
      const before = relay.accepted.length;
      assert.deepEqual(await send(variant, size), ['250 2.6.0', '221 2.0.0']);
      assert.equal(relay.accepted.length, before + 1);
      const accepted = relay.accepted.at(-1);
      assert.equal(accepted?.deliveries[0]?.envelope.mailFrom, 'app@example.test');
      const stored = relay.content();
      assert.ok(stored.includes('Subject: smuggled'), 'it is content of the one message');
      assert.doesNotMatch(stored, /\r(?!\n)|(?<!\r)\n/, 'no bare CR or LF is stored');
      assert.equal(endsOnTheWire(stored), 1);
    });
  }
}

for (const variant of WITH_NUL) {
  test(`${JSON.stringify(variant)} makes the message one that is not taken`, async () => {
    const before = relay.accepted.length;
    assert.deepEqual(await send(variant, 100_000), ['550 5.6.0', '221 2.0.0']);
    assert.equal(relay.accepted.length, before);
  });
}

test('the true end, of course, ends it', async () => {
  const before = relay.accepted.length;
  const replies = await send(END_OF_DATA, 100_000);
  // The message, MAIL, RCPT, DATA, the next message, QUIT.
  assert.deepEqual(replies, ['250 2.6.0', '250 2.1.0', '250 2.1.5', '354 end d', '250 2.6.0', '221 2.0.0']);
  assert.equal(relay.accepted.length, before + 2);
});
