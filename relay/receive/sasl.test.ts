import assert from 'node:assert/strict';
import test from 'node:test';
import { MECHANISMS, type Step } from './sasl.ts';

const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64');

/** What the last of the client's lines leads to. */
function steps(mechanism: string, ...lines: readonly (string | undefined)[]): Step | undefined {
  const next = MECHANISMS.get(mechanism)?.();
  let step: Step | undefined;
  for (const line of lines) step = next?.(line);
  return step;
}

const credentials = (username: string, password: string): Step => ({ credentials: { username, password } });
const MALFORMED: Step = { failed: 'malformed' };

const CASES: readonly (readonly [
  what: string,
  mechanism: string,
  lines: readonly (string | undefined)[],
  step: Step,
])[] = [
  ['PLAIN asks with an empty challenge', 'PLAIN', [undefined], { challenge: '' }],
  ['PLAIN takes the response at once', 'PLAIN', [base64('\0app\0secret')], credentials('app', 'secret')],
  ['PLAIN takes the response when asked', 'PLAIN', [undefined, base64('\0app\0secret')], credentials('app', 'secret')],
  ['PLAIN takes an identity that is the user', 'PLAIN', [base64('app\0app\0x')], credentials('app', 'x')],
  ['PLAIN lets nobody act as another', 'PLAIN', [base64('boss\0app\0x')], { failed: 'other_identity' }],
  ['PLAIN takes an empty password, which fits nobody', 'PLAIN', [base64('\0app\0')], credentials('app', '')],
  ['PLAIN takes UTF-8', 'PLAIN', [base64('\0ж\0pässword')], credentials('ж', 'pässword')],
  ['PLAIN without a user', 'PLAIN', [base64('\0\0x')], MALFORMED],
  ['PLAIN of two parts', 'PLAIN', [base64('app\0secret')], MALFORMED],
  ['PLAIN of four parts', 'PLAIN', [base64('\0app\0sec\0ret')], MALFORMED],
  ['PLAIN of nothing', 'PLAIN', [''], MALFORMED],
  ['PLAIN that is no base64', 'PLAIN', ['!!!!'], MALFORMED],
  [
    'PLAIN with a space in it',
    'PLAIN',
    [`${base64('\0app\0x').slice(0, 4)} ${base64('\0app\0x').slice(4)}`],
    MALFORMED,
  ],
  ['PLAIN without its padding', 'PLAIN', [base64('\0app\0xy').replace(/=+$/, '')], MALFORMED],
  ['PLAIN in the URL alphabet', 'PLAIN', [base64('\0app\0>>>???').replaceAll('/', '_')], MALFORMED],
  ['PLAIN that is no UTF-8', 'PLAIN', [base64(Buffer.from('\0app\0\xff', 'latin1'))], MALFORMED],
  ['LOGIN asks for the user', 'LOGIN', [undefined], { challenge: base64('Username:') }],
  ['LOGIN asks for the password', 'LOGIN', [undefined, base64('app')], { challenge: base64('Password:') }],
  ['LOGIN takes the user at once', 'LOGIN', [base64('app')], { challenge: base64('Password:') }],
  ['LOGIN has both', 'LOGIN', [undefined, base64('app'), base64('secret')], credentials('app', 'secret')],
  ['LOGIN with a bad user', 'LOGIN', [undefined, '?'], MALFORMED],
  ['LOGIN with a bad password', 'LOGIN', [undefined, base64('app'), '?'], MALFORMED],
];

for (const [what, mechanism, lines, step] of CASES) {
  test(what, () => assert.deepEqual(steps(mechanism, ...lines), step));
}

test('two exchanges know nothing of each other', () => {
  const begin = MECHANISMS.get('LOGIN');
  const [first, second] = [begin?.(), begin?.()];
  first?.(base64('app'));
  assert.deepEqual(second?.(base64('other')), { challenge: base64('Password:') });
});
