import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReply } from './reply.ts';

const host = 'mx.dest.test';

for (const [what, response, expected] of [
  ['a plain reply', '250 OK', { code: 250, text: 'OK' }],
  ['a reply without text', '250', { code: 250, text: '' }],
  ['an enhanced code', '550 5.1.1 No such user', { code: 550, enhanced: '5.1.1', text: 'No such user' }],
  ['an enhanced code alone', '451 4.3.0', { code: 451, enhanced: '4.3.0', text: '' }],
  [
    'several lines are joined, each without its codes',
    '550-5.7.1 Your message\n550-5.7.1 was refused,\n550 5.7.1 see https://dest.test',
    { code: 550, enhanced: '5.7.1', text: 'Your message was refused, see https://dest.test' },
  ],
  ['an enhanced code of another class counts for nothing', '550 2.0.0 No', { code: 550, text: 'No' }],
  [
    'lines that say yes and no say nothing',
    '250-2.0.0 Taken\n550 5.7.1 Refused',
    { code: 451, enhanced: '4.5.0', text: 'Not an SMTP reply: 250-2.0.0 Taken 550 5.7.1 Refused' },
  ],
  ['a line of talk between lines of a code', '250-2.0.0 One\ntalk', { code: 250, enhanced: '2.0.0', text: 'One' }],
  ['a code that SMTP has not', '199 x', { code: 451, enhanced: '4.5.0', text: 'Not an SMTP reply: 199 x' }],
  ['four digits are no code', '2500 x', { code: 451, enhanced: '4.5.0', text: 'Not an SMTP reply: 2500 x' }],
  ['control characters become spaces', '550 a\u0000\u001b[31mb\tc\u202ed', { code: 550, text: 'a [31mb c d' }],
  [
    'what is no reply is judged as a passing fault',
    'Hello',
    { code: 451, enhanced: '4.5.0', text: 'Not an SMTP reply: Hello' },
  ],
] as const) {
  test(`a reply is read: ${what}`, () => assert.deepEqual(parseReply(response, host), { ...expected, host }));
}

test('the text of a reply is bounded', () => {
  assert.equal(parseReply(`550 ${'x'.repeat(100_000)}`, host).text.length, 1_000);
  assert.equal(parseReply(Array(10_000).fill('550-x').join('\n'), host).text.length <= 1_000, true);
});
