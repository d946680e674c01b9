/** A signal that is aborted by the first SIGINT or SIGTERM; a second one ends the process as if none were caught. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
