/**
 * SMTP smuggling (SEC Consult, 2023) through a whole relay: what a client writes for the end of its message arrives as
 * text or not at all. Each message is looked at as it leaves, byte for byte.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RelayProcess } from '../harness/relay-process.ts';
import { SmtpClient } from '../harness/smtp-client.ts';
import { VARIANTS, WITH_NUL } from '../harness/smuggling.ts';
import { BARE_LINE_END, endsOf, WireTap } from '../harness/wire-tap.ts';

let tap: WireTap;
let relay: RelayProcess;
before(async () => {
  tap = await WireTap.start();
  relay = await RelayProcess.start(tap.port);
});
after(async () => {
  await relay?.[Symbol.asyncDispose]();
  await tap?.[Symbol.asyncDispose]();
});

const SMUGGLED =
  'MAIL FROM:<boss@example.test>\r\nRCPT TO:<victim@dest.test>\r\nDATA\r\nSubject: smuggled\r\n\r\npay him\r\n';

/** @param size over 256 KiB it goes through a file, in pieces */
async function submit(variant: string, size: number): Promise<string> {
  await using client = await SmtpClient.connect(relay.port);
  await client.talk(
    ['EHLO client.test', '250-'],
    ['MAIL FROM:<app@example.test>', '250 '],
    ['RCPT TO:<ana@dest.test>', '250 '],
  );
  await client.talk(['DATA', '354 ']);
  const text = 'A line of some text.\r\n'.repeat(Math.ceil(size / 22));
  client.send(Buffer.from(`From: app@example.test\r\n\r\n${text}text${variant}${SMUGGLED}.\r\n`, 'latin1'));
  return await client.reply();
}

for (const size of [100, 300_000]) {
  test(`no variant of the end leaves the relay, in a message of ${size} bytes`, async () => {
    const before = tap.messages.length;
    for (const variant of VARIANTS) assert.match(await submit(variant, size), /^250 2\.6\.0 /);
    for (const variant of WITH_NUL) assert.match(await submit(variant, size), /^550 5\.6\.0 /);
    const all = await tap.received(before + VARIANTS.length);
    await relay.untilEmpty();
    assert.equal(all.length, before + VARIANTS.length, 'one message is one message');
    for (const wire of all.slice(before)) {
      assert.doesNotMatch(wire, BARE_LINE_END);
      assert.equal(endsOf(wire), 1);
      assert.ok(wire.includes('Subject: smuggled'), 'it is text of the one message');
    }
    assert.deepEqual(
      tap.commands.filter((command) => /^(MAIL|RCPT)/.test(command) && !/app@example|ana@dest/.test(command)),
      [],
    );
  });
}
