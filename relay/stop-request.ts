import { once } from 'node:events';

/** Resolves with the reason to stop. */
export async function stopRequest(supervised: boolean): Promise<string> {
  const requests = [once(process, 'SIGTERM').then(() => 'SIGTERM'), once(process, 'SIGINT').then(() => 'SIGINT')];
  if (supervised) requests.push(once(process, 'disconnect').then(() => 'the supervisor is gone'));
  return Promise.race(requests);
}
