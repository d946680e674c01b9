import { test } from 'node:test';
import { killRounds } from './kill-rounds.ts';

test('over ten times SIGKILL no message is lost, and none is doubled without need', async (t) => {
  await killRounds(t, { rounds: 10, messages: 120 });
});
