/** Programs within the namespaces of a test node. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ROOT } from './layout.ts';

const run = promisify(execFile);
/** Longer than anything takes on a busy machine. */
const WAIT_MS = 180_000;
const LOOK_MS = 100;

/** The words that run a command in the node whose first process has this number. */
export const inside = (pid: number, words: readonly string[]): readonly string[] => [
  ...['nsenter', `--target=${pid}`, '--mount', '--net', '--pid', '--'],
  ...words,
];

/** Runs a command to its end; returns what it says. */
export async function runInside(pid: number, words: readonly string[]): Promise<string> {
  const [program = '', ...rest] = inside(pid, words);
  return (await run(program, rest, { maxBuffer: 1 << 26 })).stdout;
}

/** Starts a program that goes on after this one; its log is NAME.log in the node's folder. */
export function startDaemon(name: string, words: readonly string[]): ChildProcess {
  const [program = '', ...rest] = words;
  const log = openSync(join(ROOT, `${name}.log`), 'a');
  const child = spawn(program, rest, { stdio: ['ignore', log, log], detached: true, cwd: '/' });
  closeSync(log);
  child.unref();
  return child;
}

/** Waits until it is so; fails with the last lines of a log. */
export async function until(what: string, log: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) {
      const lines = readFileSync(join(ROOT, `${log}.log`), 'utf8')
        .split('\n')
        .slice(-20);
      throw new Error(`${what} after ${WAIT_MS / 1000} s; ${log} said last:\n${lines.join('\n')}`);
    }
    await pause(LOOK_MS);
  }
}
