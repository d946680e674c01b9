import { setFlagsFromString } from 'node:v8';

/**
 * Lets what is outside of the nursery grow further before all of the heap is collected. By itself V8 allows a heap of
 * 20 MiB some 8 MiB, and counts bodies of messages in: it then collects at every 90th message of 100 KiB, which takes a
 * quarter of the CPU time, for 3 MiB of garbage. The peak of memory was the same with either.
 */
export function letHeapGrow(): void {
  setFlagsFromString('--heap-growing-percent=200');
}
