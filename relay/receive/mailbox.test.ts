import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseAddress } from './address.ts';
import { parseMailboxList } from './mailbox.ts';

const texts = (value: string) => parseMailboxList(value)?.map(({ text }) => text);
const word = (text: string, charset = 'utf-8') => `=?${charset}?B?${Buffer.from(text).toString('base64')}?=`;

const READ: readonly (readonly [value: string, ...addresses: string[]])[] = [
  ['ana@dest.test', 'ana@dest.test'],
  [' ana@dest.test\t', 'ana@dest.test'],
  ['<ana@dest.test>', 'ana@dest.test'],
  ['Ana Lima <ana@dest.test>', 'ana@dest.test'],
  ['Ana\t<ana@DEST.test>', 'ana@dest.test'],
  ['"Lima, Ana" <ana@dest.test>', 'ana@dest.test'],
  ['"Ana \\"A\\" Lima" <ana@dest.test>', 'ana@dest.test'],
  ["Ana O'Lima <ana@dest.test>", 'ana@dest.test'],
  ['Ana B. Lima <ana@dest.test>', 'ana@dest.test'],
  ['Änne Müller <ana@dest.test>', 'ana@dest.test'],
  [`${word('Änne, Müller')} <ana@dest.test>`, 'ana@dest.test'],
  ['=?iso-8859-1?Q?Andr=E9_=28Paris=29?= <ana@dest.test>', 'ana@dest.test'],
  ['=?utf-8*fr?q?Andr=C3=A9?= <ana@dest.test>', 'ana@dest.test'],
  // Many clients repeat the address as the name.
  ['"ana@dest.test" <ana@dest.test>', 'ana@dest.test'],
  ['"Ana@Dest.test" <ana@dest.test>', 'ana@dest.test'],
  [`${word('ana@dest.test')} <ana@dest.test>`, 'ana@dest.test'],
  ['ana@dest.test, Bob <bob@dest.test>,"C" <c@dest.test>', 'ana@dest.test', 'bob@dest.test', 'c@dest.test'],
  ['жанна@müller.test', 'жанна@xn--mller-kva.test'],
];

for (const [value, ...addresses] of READ) test(`${value} is read`, () => assert.deepEqual(texts(value), addresses));

/** "Composition Kills" (USENIX Security 2020), "Weak Links in Authentication Chains" (2021), and their kin. */
const AMBIGUOUS: readonly (readonly [what: string, value: string])[] = [
  ['nothing', ''],
  ['white space', ' \t'],
  ['a name only', 'Ana'],
  ['an address without domain', 'ana'],
  ['an empty list entry', 'ana@dest.test,,bob@dest.test'],
  ['a trailing comma', 'ana@dest.test,'],
  ['a leading comma', ',ana@dest.test'],
  ['a semicolon between addresses', 'ana@dest.test; bob@dest.test'],
  ['two addresses and no comma', 'ana@dest.test bob@dest.test'],
  ['two bracketed addresses', '<ana@dest.test><bob@dest.test>'],
  ['two bracketed addresses and a space', '<ana@dest.test> <bob@dest.test>'],
  ['nested brackets', '<<ana@dest.test>>'],
  ['an open bracket', '<ana@dest.test'],
  ['a closing bracket', 'ana@dest.test>'],
  ['text after the address', 'Ana <ana@dest.test> x'],
  ['an address before the bracket', 'bob@dest.test <ana@dest.test>'],
  ['an address after the bracket', '<ana@dest.test> bob@dest.test'],
  ['another address in quotes', '"bob@dest.test" <ana@dest.test>'],
  ['another address behind a backslash', '"b\\ob@dest.test" <ana@dest.test>'],
  ['a bracketed address in quotes', '"<bob@dest.test>" <ana@dest.test>'],
  ['another address in an encoded word', `${word('bob@dest.test')} <ana@dest.test>`],
  ['another address in two encoded words', `${word('bob@')} ${word('dest.test')} <ana@dest.test>`],
  ['another address in an encoded word in quotes', `"${word('bob@dest.test')}" <ana@dest.test>`],
  ['another address in Q encoding', '=?utf-8?q?bob=40dest.test?= <ana@dest.test>'],
  ['another address in a charset with a language', '=?utf-8*en?q?bob=40dest.test?= <ana@dest.test>'],
  ['another address in full-width signs', '"bob＠dest.test" <ana@dest.test>'],
  ['brackets in an encoded word', `${word('<bob>')} <ana@dest.test>`],
  ['a line end in an encoded word', `${word('bob\r\nFrom: x')} <ana@dest.test>`],
  ['NUL in an encoded word', `${word('ana@dest.test\0')} <ana@dest.test>`],
  ['a charset nobody knows', `${word('Ana', 'x-unknown')} <ana@dest.test>`],
  ['an encoded word for an address', word('ana@dest.test')],
  ['an encoded word within the address', `<${word('ana')}@dest.test>`],
  ['a comment', 'ana@dest.test (Ana)'],
  ['a comment with an address', '(bob@dest.test) ana@dest.test'],
  ['a comment within the address', 'ana(x)@dest.test'],
  ['a comment in the name', 'Ana (x) <ana@dest.test>'],
  ['a group', 'friends: ana@dest.test;'],
  ['an empty group', 'undisclosed:;'],
  ['a source route', '<@bob.test:ana@dest.test>'],
  ['a route of two', '<@a.test,@b.test:ana@dest.test>'],
  ['a quoted local part', '"ana"@dest.test'],
  ['a quoted local part with another address', '"bob@dest.test"@dest.test'],
  ['an address literal', 'ana@[192.0.2.1]'],
  ['spaces around the at sign', 'ana @ dest.test'],
  ['a space in the brackets', '< ana@dest.test >'],
  ['two at signs', 'bob@dest.test@dest.test'],
  ['NUL after the address', 'ana@dest.test\0@other.test'],
  ['a bare CR', 'ana@dest.test\r<bob@dest.test>'],
  ['an open quote', '"Ana <ana@dest.test>'],
  ['a backslash outside of quotes', 'An\\a <ana@dest.test>'],
  ['the second of two being bad', 'ana@dest.test, (x) bob@dest.test'],
];

for (const [what, value] of AMBIGUOUS)
  test(`${what} is not taken`, () => assert.equal(parseMailboxList(value), undefined));

test('no text makes it throw, take time, or overlook an address', () => {
  const nasty = fc.string({
    maxLength: 200,
    unit: fc.constantFrom(
      'a',
      '@',
      '"',
      '\\',
      '<',
      '>',
      ',',
      ' ',
      '=?utf-8?b?',
      '=?x?q?',
      '?=',
      '(',
      ')',
      ';',
      ':',
      'ж',
      '.test',
    ),
  });
  fc.assert(
    fc.property(nasty, (value) => {
      const told = parseMailboxList(value)?.map(({ text }) => text.toLowerCase());
      // A reader that takes whatever looks like an address finds no other one.
      for (const [found] of told ? value.matchAll(/[^\s<>",]+@[^\s<>",]+/g) : []) {
        assert.ok(told?.includes(parseAddress(found)?.text.toLowerCase() ?? ''), `${found} in ${value}`);
      }
    }),
    { numRuns: 5_000 },
  );
  for (const value of [
    '"'.repeat(50_000),
    '"a" '.repeat(20_000),
    '=?'.repeat(50_000),
    `${'a@b.test,'.repeat(5_000)}(`,
    'a '.repeat(50_000),
    `"${'\\a'.repeat(50_000)}`,
  ]) {
    const before = process.cpuUsage().user;
    parseMailboxList(value);
    assert.ok(
      process.cpuUsage().user - before < 1_000_000,
      `${value.slice(0, 20)} takes ${process.cpuUsage().user - before} us`,
    );
  }
});
