/** For tests that look at system calls, or let them fail. Where CI is set nothing is skipped: it is part of what is tested. */
import { spawnSync } from 'node:child_process';

/** Options of such a test. */
export const needsStrace = {
  skip: !process.env.CI && spawnSync('strace', ['-V']).error ? 'strace is not installed' : false,
};
