/** Of the process itself, under the names that every client library of Prometheus gives them. */
import { readdirSync } from 'node:fs';
import manifest from '../../package.json' with { type: 'json' };
import type { Catalogue } from './catalogue.ts';

export function processMetrics(catalogue: Catalogue): void {
  catalogue.gauge(
    {
      name: 'chasqui_build_info',
      help: 'Always 1; its labels say what runs.',
      question: 'Which version runs where, and is an upgrade through?',
      unit: '0 or 1',
      labels: { version: 'the version of Chasqui', node: 'that of Node' },
    },
    () => [[{ version: manifest.version, node: process.versions.node }, 1]],
  );
  catalogue.kept(
    {
      name: 'process_cpu_seconds_total',
      help: 'Processor time that the process has used, its threads and the kernel on its behalf counted in.',
      question: 'How busy is it?',
      unit: 'seconds',
    },
    () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1_000_000;
    },
  );
  catalogue.gauge(
    {
      name: 'process_resident_memory_bytes',
      help: 'Memory that the process holds.',
      question: 'Does it come near its limit?',
      unit: 'bytes',
    },
    () => [[{}, process.memoryUsage.rss()]],
  );
  catalogue.gauge(
    {
      name: 'process_start_time_seconds',
      help: 'When the process started, in seconds since 1970.',
      question: 'Was it started again?',
      unit: 'seconds',
    },
    () => [[{}, performance.timeOrigin / 1_000]],
  );
  catalogue.gauge(
    {
      name: 'process_open_fds',
      help: 'Files and sockets that the process holds open. Linux only.',
      question: 'Does it come near its limit?',
      unit: 'files',
    },
    () => openFiles().map((count) => [{}, count]),
  );
}

/** None where the system has no /proc. */
function openFiles(): number[] {
  try {
    return [readdirSync('/proc/self/fd').length];
  } catch {
    return [];
  }
}
