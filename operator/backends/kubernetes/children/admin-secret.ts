/** The tokens of the admin API: random, so only ever created. Without it no pod starts. */
import type { RelayGroup } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { adminSecretName, LABELS, meta } from './identity.ts';

export const ADMIN_PURPOSE = 'admin';

/** @param token makes one; at least 32 characters */
export const adminSecret = (group: RelayGroup, token: () => string): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: meta(group, adminSecretName(group.name), { [LABELS.purpose]: ADMIN_PURPOSE }),
  type: 'Opaque',
  data: { view: base64(token()), operate: base64(token()) },
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
