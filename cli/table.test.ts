import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, size, table } from './table.ts';

test('columns stand under their names, and no line ends with a space', () => {
  assert.equal(
    table(
      ['NAME', 'READY', 'MESSAGE'],
      [
        ['a', 'True', ''],
        ['longer', 'False', 'why'],
      ],
    ),
    'NAME     READY   MESSAGE\na        True\nlonger   False   why',
  );
});

test('what others wrote adds no line and moves no cursor', () => {
  assert.equal(table(['REPLY'], [['550 no\r\n\u0007250 yes\u009b2J']]), 'REPLY\n550 no 250 yes 2J');
  assert.equal(table(['REPLY'], [['\u001b[2Jgone']]), 'REPLY\n [2Jgone');
});

test('colours take no room', () => {
  const green = (text: string) => `\u001b[32m${text}\u001b[39m`;
  assert.equal(
    table(['READY', 'AGE'], [[{ text: 'True', paint: green }, '5s']]),
    `READY   AGE\n${green('True')}    5s`,
  );
});

test('an age is told in its largest unit', () => {
  for (const [ms, text] of [
    [-5, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [60_000, '1m'],
    [7_200_000, '2h'],
    [400 * 86_400_000, '400d'],
  ] as const) {
    assert.equal(age(ms), text);
  }
});

test('a size has two digits at least', () => {
  for (const [bytes, text] of [
    [0, '0B'],
    [1023, '1023B'],
    [1024, '1.0Ki'],
    [10_240, '10Ki'],
    [52_428_800, '50Mi'],
    [2 ** 41, '2.0Ti'],
  ] as const) {
    assert.equal(size(bytes), text);
  }
});
