import assert from 'node:assert/strict';
import test from 'node:test';
import { parsePathArgument } from './command.ts';

const READ: readonly (readonly [
  argument: string,
  path: string,
  parameters?: Readonly<Record<string, string | true>>,
])[] = [
  ['FROM:<>', ''],
  ['FROM:<a@b.test>', 'a@b.test'],
  ['from:<a@b.test>', 'a@b.test'],
  // RFC 5321 3.3 forbids the space; Outlook and many scripts send it.
  ['FROM: <a@b.test>', 'a@b.test'],
  ['FROM:<a@b.test> SIZE=100 BODY=8BITMIME', 'a@b.test', { SIZE: '100', BODY: '8BITMIME' }],
  ['FROM:<a@b.test>  size=1  smtputf8 ', 'a@b.test', { SIZE: '1', SMTPUTF8: true }],
  ['FROM:<"a b"@c.test>', '"a b"@c.test'],
  ['FROM:<"> SIZE=1 <"@c.test> SIZE=2', '"> SIZE=1 <"@c.test', { SIZE: '2' }],
  ['FROM:<"\\">"@c.test>', '"\\">"@c.test'],
  // Source routes are dropped (RFC 5321 4.1.1.3, appendix C).
  ['FROM:<@x.test,@y.test:a@b.test>', 'a@b.test'],
  ['FROM:<@x.test:a@b.test>', 'a@b.test'],
  // A quoted local part may look like one.
  ['FROM:<"@x.test:a"@b.test>', '"@x.test:a"@b.test'],
  ['FROM:<ж@б.test> SMTPUTF8 ENVID=ж', 'ж@б.test', { SMTPUTF8: true, ENVID: 'ж' }],
  ['FROM:<a@[IPv6:::1]>', 'a@[IPv6:::1]'],
];

for (const [argument, path, parameters = {}] of READ) {
  test(`${argument} is read`, () => {
    const read = parsePathArgument('FROM', argument);
    assert.ok(typeof read !== 'string', `${argument}: ${JSON.stringify(read)}`);
    assert.deepEqual({ path: read.path, parameters: Object.fromEntries(read.parameters) }, { path, parameters });
  });
}

const REFUSED: readonly (readonly [argument: string, why: 'bad_path' | 'bad_argument'])[] = [
  ['', 'bad_argument'],
  ['a@b.test', 'bad_argument'],
  ['TO:<a@b.test>', 'bad_argument'],
  ['FROM <a@b.test>', 'bad_argument'],
  ['FROM:', 'bad_path'],
  ['FROM:a@b.test', 'bad_path'],
  ['FROM:<a@b.test', 'bad_path'],
  ['FROM:a@b.test>', 'bad_path'],
  ['FROM:<a@b.test>>', 'bad_path'],
  ['FROM:<<a@b.test>>', 'bad_path'],
  ['FROM:<a@b.test> <c@d.test>', 'bad_argument'],
  ['FROM:<a@b.test>SIZE=1', 'bad_path'],
  ['FROM:  <a@b.test>', 'bad_path'],
  ['FROM:<"a@b.test>', 'bad_path'],
  ['FROM:<a"b@c.test>', 'bad_path'],
  ['FROM:<a@b.test> SIZE=1 SIZE=2', 'bad_argument'],
  ['FROM:<a@b.test> size=1 SIZE=1', 'bad_argument'],
  ['FROM:<a@b.test> SIZE=', 'bad_argument'],
  ['FROM:<a@b.test> =1', 'bad_argument'],
  ['FROM:<a@b.test> X=a=b', 'bad_argument'],
  ['FROM:<a@b.test> -X', 'bad_argument'],
];

for (const [argument, why] of REFUSED) {
  test(`${argument || 'nothing'} is refused`, () => assert.equal(parsePathArgument('FROM', argument), why));
}

test('hostile arguments take no time', () => {
  for (const argument of [
    `FROM:<${'"a"'.repeat(700)}`,
    `FROM:<${'"\\'.repeat(1_000)}`,
    `FROM:<${'@a,'.repeat(700)}`,
    `FROM:<@a${',@a'.repeat(700)}>`,
    `FROM:<a@b>${' X'.repeat(1_000)}`,
  ]) {
    const before = process.cpuUsage().user;
    parsePathArgument('FROM', argument);
    assert.ok(process.cpuUsage().user - before < 100_000, argument.slice(0, 20));
  }
});
