import assert from 'node:assert/strict';
import test from 'node:test';
import { Guesses } from './guesses.ts';

function setUp() {
  const clock = { ms: 1_000_000 };
  const guesses = new Guesses(() => clock.ms);
  /** How many of so many attempts are let through. */
  const attempts = (count: number, client: string, username: (n: number) => string = () => 'app') =>
    Array.from({ length: count }, (_, n) => guesses.take(client, username(n))).filter(Boolean).length;
  return { clock, guesses, attempts };
}

test('a client has ten guesses for a user, then one a minute', () => {
  const { clock, attempts } = setUp();
  assert.equal(attempts(100, 'a'), 10);
  clock.ms += 59_000;
  assert.equal(attempts(100, 'a'), 0);
  clock.ms += 1_000;
  assert.equal(attempts(100, 'a'), 1);
  clock.ms += 3_600_000;
  assert.equal(attempts(100, 'a'), 10);
});

test('one user of a client is not refused for what another did, nor another client', () => {
  const { attempts } = setUp();
  assert.equal(
    attempts(100, 'a', () => 'old'),
    10,
  );
  assert.equal(
    attempts(100, 'a', () => 'other'),
    10,
  );
  assert.equal(
    attempts(100, 'b', () => 'old'),
    10,
  );
});

test('a client that tries many users has fifty guesses, then five a minute', () => {
  const { clock, attempts } = setUp();
  assert.equal(
    attempts(1_000, 'a', (n) => `user${n}`),
    50,
  );
  clock.ms += 60_000;
  assert.equal(
    attempts(1_000, 'a', (n) => `user${n}`),
    5,
  );
});

test('a guess that was right is none', () => {
  const { guesses, attempts } = setUp();
  for (let n = 0; n < 1_000; n += 1) {
    assert.equal(guesses.take('a', 'app'), true);
    guesses.giveBack('a', 'app');
  }
  assert.equal(attempts(100, 'a'), 10);
});

test('each wrong one waits longer for its reply, up to five seconds', () => {
  const { guesses, clock } = setUp();
  const delays = Array.from({ length: 8 }, (_, n) => {
    guesses.take('a', `user${n}`);
    return guesses.delayMs('a');
  });
  assert.deepEqual(delays, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
  clock.ms += 3_600_000;
  assert.equal(guesses.delayMs('a'), 250);
});

test('a clock that is set back neither frees nor locks out', () => {
  const { guesses, clock, attempts } = setUp();
  assert.equal(attempts(100, 'a'), 10);
  clock.ms -= 3_600_000;
  assert.equal(guesses.take('a', 'app'), false);
  assert.equal(guesses.take('a', 'other'), true);
});

test('the client that was quiet for longest is forgotten where there are too many', () => {
  const { attempts } = setUp();
  assert.equal(attempts(100, 'quiet'), 10);
  assert.equal(attempts(100, 'loud'), 10);
  for (let n = 0; n < 19_999; n += 1) assert.equal(attempts(1, `client${n}`), 1);
  assert.equal(attempts(100, 'loud'), 0);
  assert.equal(attempts(100, 'quiet'), 10);
});
