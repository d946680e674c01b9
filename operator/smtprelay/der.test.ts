import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as der from './der.ts';

describe('DER', () => {
  for (const [sentence, actual, hex] of [
    ['writes a short length in one byte', der.octets(Buffer.alloc(127)).subarray(0, 2), '047f'],
    ['writes a longer one with its size', der.octets(Buffer.alloc(128)).subarray(0, 3), '048180'],
    ['writes a length of two bytes', der.octets(Buffer.alloc(256)).subarray(0, 4), '04820100'],
    ['keeps a number positive', der.integer(Buffer.of(0x80)), '02020080'],
    ['writes a number in its shortest form', der.integer(Buffer.of(0, 0, 1)), '020101'],
    ['writes zero', der.integer(Buffer.of(0)), '020100'],
    ['writes object identifiers', der.oid('1.2.840.10045.4.3.2'), '06082a8648ce3d040302'],
    [
      'writes years before 2050 with two digits',
      der.time(Date.parse('2049-12-31T23:59:59Z')),
      `170d${Buffer.from('491231235959Z').toString('hex')}`,
    ],
    [
      'writes years from 2050 with four',
      der.time(Date.parse('2050-01-01T00:00:00Z')),
      `180f${Buffer.from('20500101000000Z').toString('hex')}`,
    ],
  ] as const) {
    it(sentence, () => assert.equal(actual.toString('hex'), hex));
  }
});
