import { test } from 'node:test';
import { killRounds } from './kill-rounds.ts';

test('over a hundred times SIGKILL no message is lost, and none is doubled without need', async (t) => {
  await killRounds(t, { rounds: 100, messages: 300 });
});
