/** The audit log of an API server (audit.k8s.io/v1): who asked for what. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** One request, as far as tests look at it. */
export interface AuditEvent {
  /** A watch is told at its start (ResponseStarted) and at its end. */
  readonly stage: 'ResponseStarted' | 'ResponseComplete' | 'Panic';
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  /** RFC 3339, microseconds. */
  readonly requestReceivedTimestamp: string;
}

/** Writes the policy; returns the flag that names it. */
export async function writeAuditPolicy(folder: string): Promise<string> {
  const path = join(folder, 'audit-policy.yaml');
  const policy = {
    apiVersion: 'audit.k8s.io/v1',
    kind: 'Policy',
    omitStages: ['RequestReceived'],
    rules: [{ level: 'Metadata' }],
  };
  await writeFile(path, JSON.stringify(policy));
  return `--audit-policy-file=${path}`;
}

/** A line that is still being written is left out. */
export const auditEvents = (log: string): readonly AuditEvent[] =>
  log
    .split('\n')
    .slice(0, -1)
    .map((line): AuditEvent => JSON.parse(line));
