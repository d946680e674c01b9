/** The program as people run it, on a state folder: what it printed, and how it ended. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';

export const CHASQUI = join(import.meta.dirname, '../../bin/chasqui');

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param input what it reads */
export const chasquiOn =
  (state: string) =>
  (words: readonly string[], input = ''): Promise<Ended> =>
    new Promise((resolve) => {
      const child = execFile(CHASQUI, words, { env: { ...process.env, CHASQUI_STATE: state } }, (_, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
      child.stdin?.end(input);
    });
