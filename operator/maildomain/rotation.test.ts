import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Key, numberOf, planRotation, type RotationInput, selectorOf } from './rotation.ts';

const HOUR_MS = 3_600_000;
const NOW = Date.parse('2026-03-01T12:00:00Z');
const ago = (hours: number): number => NOW - hours * HOUR_MS;

const key = (number: number, state: Key['state'], more: Partial<Key> = {}): Key => ({
  selector: selectorOf('chasqui', 'RSA2048', number),
  algorithm: 'RSA2048',
  number,
  createdMs: ago(1000),
  published: false,
  ...(state && { state }),
  ...(state === 'Active' && { activatedMs: ago(900) }),
  ...(state === 'Retiring' && { retiredMs: ago(1) }),
  ...more,
});
const young = { createdMs: ago(1) };

function planned(keys: readonly Key[], more: Partial<RotationInput> = {}) {
  const input: RotationInput = {
    algorithms: ['RSA2048'],
    prefix: 'chasqui',
    everyMs: undefined,
    publishForMs: 24 * HOUR_MS,
    retireAfterMs: 144 * HOUR_MS,
    verification: 'Required',
    request: undefined,
    lost: [],
    blocked: [],
    ...more,
    keys,
  };
  return planRotation(input, NOW);
}

/** What is decided, in a line: states by number, then what is made (+) and removed (-). */
function told(keys: readonly Key[], more?: Partial<RotationInput>): string {
  const { keys: living, make, remove } = planned(keys, more);
  return [
    ...living.map(({ number, state }) => `${number} ${state}`),
    ...make.map(({ number }) => `+${number}`),
    ...remove.map(({ number }) => `-${number}`),
  ].join(', ');
}

describe('the keys of an algorithm', () => {
  const cases: readonly [sentence: string, expected: string, keys: readonly Key[], more?: Partial<RotationInput>][] = [
    ['begin with one', '+1', []],
    ['wait for DNS', '1 Publishing', [key(1, undefined)]],
    ['sign once published', '1 Active', [key(1, 'Publishing', { published: true })]],
    ['go on signing when their record goes from DNS', '1 Active', [key(1, 'Active')]],
    ['sign at once where DNS is not looked at', '1 Active', [key(1, undefined, young)], { verification: 'Disabled' }],
    ['sign at once where DNS is only observed', '1 Active', [key(1, undefined, young)], { verification: 'Observe' }],
    ['are not replaced unless that is asked for', '1 Active', [key(1, 'Active')]],
    ['are replaced on schedule', '1 Active, +2', [key(1, 'Active')], { everyMs: 900 * HOUR_MS }],
    ['are not replaced before', '1 Active', [key(1, 'Active')], { everyMs: 901 * HOUR_MS }],
    ['are replaced by request', '1 Active, +2', [key(1, 'Active')], { request: 'today' }],
    ['are replaced once for a request', '1 Active', [key(1, 'Active', { request: 'today' })], { request: 'today' }],
    ['are replaced when the prefix changes', '1 Active, +2', [key(1, 'Active')], { prefix: 'other' }],
    [
      'are not replaced twice while the next one waits',
      '1 Active, 2 Publishing',
      [key(1, 'Active'), key(2, undefined, young)],
      { everyMs: HOUR_MS, request: 'today' },
    ],
    [
      'are not replaced again when a crash came between making the next key and telling it',
      '1 Active, 2 Publishing',
      [key(1, 'Active'), key(2, undefined, { ...young, request: 'today' })],
      { request: 'today' },
    ],
    [
      'hand over once the next one is published',
      '1 Retiring, 2 Active',
      [key(1, 'Active'), key(2, 'Publishing', { published: true })],
    ],
    [
      'hand over no sooner than after publishFor where DNS is not looked at',
      '1 Active, 2 Publishing',
      [key(1, 'Active'), key(2, 'Publishing', { createdMs: ago(23) })],
      { verification: 'Disabled' },
    ],
    [
      'hand over after publishFor where DNS is not looked at',
      '1 Retiring, 2 Active',
      [key(1, 'Active'), key(2, 'Publishing', { createdMs: ago(24) })],
      { verification: 'Disabled' },
    ],
    [
      'hand over before publishFor where DNS is observed and has the key',
      '1 Retiring, 2 Active',
      [key(1, 'Active'), key(2, 'Publishing', { ...young, published: true })],
      { verification: 'Observe' },
    ],
    [
      'stay published while mail may be on its way',
      '1 Retiring, 2 Active',
      [key(1, 'Retiring', { retiredMs: ago(143) }), key(2, 'Active')],
    ],
    ['go after that', '2 Active, -1', [key(1, 'Retiring', { retiredMs: ago(144) }), key(2, 'Active')]],
    ['sign no more when the algorithm is taken off the list', '1 Retiring', [key(1, 'Active')], { algorithms: [] }],
    [
      'are deleted when it was off long enough',
      '-1',
      [key(1, 'Retiring', { retiredMs: ago(144) })],
      { algorithms: [] },
    ],
    [
      'sign again without a new record when it is put back within that time',
      '1 Active',
      [key(1, 'Retiring', { published: true })],
    ],
    [
      'are made anew in their own place when they are lost, so that a cache that lags behind leads to no second key',
      '1 Retiring, +2',
      [key(1, 'Retiring')],
      { lost: [{ algorithm: 'RSA2048', number: 2 }] },
    ],
    ['are not made where a damaged one stands', '', [], { blocked: [{ algorithm: 'RSA2048', number: 1 }] }],
    [
      'are found again without a status: the newest that DNS has signs',
      '1 Retiring, 2 Active',
      [key(1, undefined, { published: true }), key(2, undefined, { published: true })],
    ],
    [
      'are found again without a status: one that DNS does not have yet waits on',
      '1 Active, 2 Publishing',
      [key(1, undefined, { published: true }), key(2, undefined, young)],
    ],
    [
      'are found again without a status where nobody looks: the newest signs if it was published long enough',
      '1 Active, 2 Publishing',
      [key(1, undefined), key(2, undefined, young)],
      { verification: 'Disabled' },
    ],
  ];
  for (const [sentence, expected, keys, more] of cases) {
    it(sentence, () => {
      assert.equal(told(keys, more), expected);
    });
  }

  it('decide nothing more once they have decided', () => {
    const first = planned([key(1, 'Active'), key(2, 'Publishing', { published: true })]);
    assert.deepEqual(planned(first.keys).keys, first.keys);
  });

  it('say when time alone will change something', () => {
    assert.equal(planned([key(1, 'Active')]).nextMs, undefined);
    assert.equal(planned([key(1, 'Active')], { everyMs: 1000 * HOUR_MS }).nextMs, NOW + 100 * HOUR_MS);
    assert.equal(planned([key(1, 'Retiring'), key(2, 'Active')]).nextMs, NOW + 143 * HOUR_MS);
    const waiting = [key(1, 'Active'), key(2, 'Publishing', young)];
    assert.equal(planned(waiting, { verification: 'Disabled' }).nextMs, NOW + 23 * HOUR_MS);
    assert.equal(planned(waiting).nextMs, undefined, 'DNS tells when it has the key');
  });

  it('of one algorithm do not wait for those of the other', () => {
    const ed25519: Key = { ...key(1, 'Publishing'), algorithm: 'Ed25519', selector: 'chasqui-e1' };
    const rsa = key(1, 'Publishing', { published: true });
    const { keys } = planned([rsa, ed25519], { algorithms: ['RSA2048', 'Ed25519'] });
    assert.deepEqual(
      keys.map(({ selector, state }) => `${selector} ${state}`),
      ['chasqui-r1 Active', 'chasqui-e1 Publishing'],
    );
  });
});

it('a selector tells its number', () => {
  assert.equal(numberOf(selectorOf('a-r7', 'RSA2048', 12), 'RSA2048'), 12);
  assert.equal(numberOf('chasqui-r1', 'Ed25519'), undefined);
  assert.equal(numberOf('mine', 'RSA2048'), undefined);
});
