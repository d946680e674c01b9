/** Stops a process where it stands, so that nothing that is sent to it later is answered before it goes on. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/**
 * Sends SIGSTOP and waits until it has taken effect: kill(2) returns before that, and a thread that runs on another
 * processor meanwhile still answers what comes (proc_pid_stat(5): state T of every thread).
 */
export async function halt(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  while (!isHalted(pid)) await pause(1);
}

export function goOn(pid: number): void {
  process.kill(pid, 'SIGCONT');
}

function isHalted(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    // The name before it may hold spaces and parentheses.
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T';
  });
}
