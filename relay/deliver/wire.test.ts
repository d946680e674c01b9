import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BARE_LINE_END, endsOf, WireTap } from '../../test/harness/wire-tap.ts';
import { connect } from './connection.ts';
import { TIMEOUTS } from './timeouts.ts';

const PIECES = [
  '\r',
  '\n',
  '.',
  '\r\n',
  '\r\n.',
  '.\r\n',
  '\r\n.\r\n',
  '\n.\n',
  '\r.\r',
  '\r\n.\n',
  'x',
  '\u0085',
  ' ',
];

test('whatever a message holds and however it is cut, it ends once on the wire, and no line end is bare', async () => {
  await using tap = await WireTap.start();
  const target = { host: 'dest.test', address: '127.0.0.1', port: tap.port };
  const signal = new AbortController().signal;
  const tls = { starttls: 'never', verify: false } as const;
  const connection = await connect(target, { hostname: 'relay.test', tls, timeouts: TIMEOUTS, signal });
  const chunks = fc.array(
    fc.array(fc.constantFrom(...PIECES), { maxLength: 6 }).map((parts) => parts.join('')),
    {
      maxLength: 6,
    },
  );
  let sent = 0;
  await fc.assert(
    fc.asyncProperty(chunks, fc.boolean(), async (parts, streamed) => {
      const bytes = parts.map((part) => Buffer.from(part, 'latin1'));
      const { replies } = await connection.send({
        mailFrom: 'app@example.test',
        mailParameters: [],
        recipients: [{ address: 'bob@dest.test', parameters: [] }],
        content: streamed
          ? async function* () {
              yield* bytes;
            }
          : Buffer.concat(bytes),
      });
      assert.equal(replies.get('bob@dest.test')?.code, 250);
      sent += 1;
      assert.equal(tap.messages.length, sent, 'one message is one message');
      const wire = tap.messages.at(-1) ?? '';
      assert.doesNotMatch(wire, BARE_LINE_END);
      assert.equal(endsOf(wire), 1);
      assert.ok(`\r\n${wire}`.endsWith('\r\n.\r\n'));
      const lines = parts.join('').split(/\r\n|\r|\n/);
      if (lines.length > 1 && lines.at(-1) === '') lines.pop();
      const text = wire.slice(0, -3).replace(/^\./gm, '');
      assert.equal(text, lines.map((line) => `${line}\r\n`).join(''), 'every byte but the line ends arrives');
      assert.deepEqual(tap.commands.slice(1), commandsOf(sent));
    }),
    { numRuns: 1_000 },
  );
  connection.destroy();
});

const commandsOf = (messages: number): readonly string[] =>
  Array.from({ length: messages }, () => ['MAIL FROM:<app@example.test>', 'RCPT TO:<bob@dest.test>', 'DATA']).flat();
